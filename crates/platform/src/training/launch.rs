//! What an administrator enters to start a training, checked as a whole: all problems are told at once.

use federation::secagg::LEAST_SITES;
use federation::{Algorithm, DifferentialPrivacy, SessionConfig};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Number, Value};

use crate::accounts::Invalid;
use crate::catalog::Message;
use crate::store::trainings::Preparation;

/// The networks that can be trained, from small to large; the last one is the classic 3D U-Net.
pub(crate) const NETWORKS: [&str; 6] = ["xxs", "xs", "s", "m", "l", "classic"];
pub(crate) const SAMPLINGS: [&str; 2] = ["usual", "brief"];
/// Millilitres of a pair of lungs that is not a child's.
const MIN_LUNG_ML: u32 = 1500;
pub(crate) const ALGORITHMS: [&str; 5] = ["FedAvg", "FedProx", "SCAFFOLD", "FedAvgM", "FedAdam"];
/// Characters of a note or a reason.
const MAX_TEXT: usize = 500;
/// What a browser's number holds exactly.
const MAX_SEED: u64 = (1 << 53) - 1;

/// The form, not yet looked at. A missing value takes its default; a value of the wrong type is told of like any other
/// wrong value.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Launch", transform = with_defaults)]
pub(crate) struct Entered {
    #[schemars(with = "Option<u32>", range(min = 1, max = 20))]
    rounds: Value,
    #[schemars(with = "Option<u32>", range(min = 1, max = 10))]
    local_epochs: Value,
    #[schemars(with = "Option<u32>", range(min = 1, max = 100_000))]
    patches_per_epoch: Value,
    #[schemars(with = "Option<f64>", extend("exclusiveMinimum" = 0, "maximum" = 1))]
    learning_rate: Value,
    #[schemars(with = "Option<u32>", range(min = 1, max = 64))]
    batch_size: Value,
    #[schemars(with = "Option<u32>", range(min = 32, max = 160), extend("multipleOf" = 16))]
    patch_size: Value,
    /// One of the names in lists of trainings.
    #[schemars(with = "Option<String>", extend("enum" = names(&ALGORITHMS)))]
    algorithm: Value,
    #[schemars(with = "Option<String>", extend("enum" = names(&NETWORKS)))]
    network: Value,
    #[schemars(with = "Option<u64>", range(max = MAX_SEED))]
    seed: Value,
    /// A round counts only with at least so many updates.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000))]
    minimum_sites: Value,
    /// The longest time for the sites to train, and again to evaluate, in seconds.
    #[schemars(with = "Option<u32>", range(min = 1, max = 2_592_000))]
    round_deadline_s: Value,
    /// Lungs are not smaller, millilitres; less than usual for children and for small phantoms.
    #[schemars(with = "Option<u32>", range(min = 50, max = 5000))]
    min_lung_ml: Value,
    /// Which places of the scans are trained on: `brief` is for runs of minutes.
    #[schemars(with = "Option<String>", extend("enum" = names(&SAMPLINGS)))]
    sampling: Value,
    /// Patient-level differential privacy: standard deviation of the noise in units of the clip; off where it is left out.
    #[schemars(with = "Option<f64>", extend("minimum" = 0.1, "maximum" = 100))]
    privacy_noise: Value,
    /// The longest gradient of a patient in a step; 1 by default.
    #[schemars(with = "Option<f64>", extend("exclusiveMinimum" = 0, "maximum" = 1000))]
    privacy_clip: Value,
    /// The largest ε that an institution's data may cost over all sessions; 8 by default.
    #[schemars(with = "Option<f64>", extend("exclusiveMinimum" = 0, "maximum" = 100))]
    privacy_epsilon: Value,
    /// The δ that goes with it; 0.00001 by default.
    #[schemars(with = "Option<f64>", extend("exclusiveMinimum" = 0, "maximum" = 0.01))]
    privacy_delta: Value,
    /// The version to start from; a network without training where none is named.
    #[schemars(with = "Option<i64>")]
    initial_model: Value,
    /// User names of institutions, at least as many as `minimum_sites`.
    #[schemars(length(min = 1))]
    participants: Vec<String>,
    #[schemars(with = "Option<String>", length(max = MAX_TEXT))]
    note: Value,
}

/// The same, as far as it can be checked without the database.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) config: SessionConfig,
    pub(crate) network: String,
    pub(crate) preparation: Preparation,
    pub(crate) initial_model: Option<i64>,
    pub(crate) participants: Vec<String>,
    pub(crate) note: String,
}

/// The field of the form and what would do, for each field that [`SessionConfig::validate`] may name.
fn field(name: &str) -> (&'static str, Message) {
    match name {
        "hyperparameters.rounds" => ("rounds", Message::TrainingRounds),
        "hyperparameters.local_epochs" => ("local_epochs", Message::TrainingEpochs),
        "hyperparameters.patches_per_epoch" => ("patches_per_epoch", Message::TrainingPatches),
        "hyperparameters.learning_rate" => ("learning_rate", Message::TrainingRate),
        "hyperparameters.batch_size" => ("batch_size", Message::TrainingBatch),
        "hyperparameters.patch_size" => ("patch_size", Message::TrainingPatchSize),
        "differential_privacy.noise_multiplier" => ("privacy_noise", Message::TrainingPrivacyNoise),
        "differential_privacy.clip_norm" => ("privacy_clip", Message::TrainingPrivacyClip),
        "differential_privacy.epsilon" => ("privacy_epsilon", Message::TrainingPrivacyEpsilon),
        "differential_privacy.delta" => ("privacy_delta", Message::TrainingPrivacyDelta),
        "hyperparameters.algorithm.Scaffold" => ("algorithm", Message::TrainingPrivacyScaffold),
        "minimum_sites" => ("minimum_sites", Message::TrainingMinimumSites),
        "round_deadline_s" => ("round_deadline_s", Message::TrainingDeadline),
        // The parameters of algorithms and the check for collapse have their defaults here.
        _ => ("algorithm", Message::TrainingAlgorithm),
    }
}

impl Entered {
    /// # Errors
    /// All that cannot be used.
    pub(crate) fn check(self) -> Result<Plan, Vec<Invalid>> {
        let mut invalid: Vec<Invalid> = Vec::new();
        let mut config = SessionConfig::default();
        let h = &mut config.hyperparameters;
        let mut wrong = |name: &str| {
            let (field, message) = field(name);
            invalid.push(Invalid { field, message });
        };
        let whole = |value: &Value, place: &mut u32| match number(value) {
            Given::Nothing => true,
            Given::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()).map(|n| *place = n).is_some(),
            Given::Other => false,
        };
        for (value, place, name) in [
            (&self.rounds, &mut h.rounds, "hyperparameters.rounds"),
            (&self.local_epochs, &mut h.local_epochs, "hyperparameters.local_epochs"),
            (&self.patches_per_epoch, &mut h.patches_per_epoch, "hyperparameters.patches_per_epoch"),
            (&self.batch_size, &mut h.batch_size, "hyperparameters.batch_size"),
            (&self.patch_size, &mut h.patch_size, "hyperparameters.patch_size"),
            (&self.minimum_sites, &mut config.minimum_sites, "minimum_sites"),
        ] {
            if !whole(value, place) {
                wrong(name);
            }
        }
        match number(&self.learning_rate) {
            Given::Nothing => {}
            Given::Number(number) => h.learning_rate = number.as_f64().unwrap_or(f64::NAN),
            Given::Other => wrong("hyperparameters.learning_rate"),
        }
        let mut privacy = DifferentialPrivacy { noise_multiplier: 1.0, clip_norm: 1.0, epsilon: 8.0, delta: 1e-5 };
        for (value, place, name) in [
            (&self.privacy_noise, &mut privacy.noise_multiplier, "differential_privacy.noise_multiplier"),
            (&self.privacy_clip, &mut privacy.clip_norm, "differential_privacy.clip_norm"),
            (&self.privacy_epsilon, &mut privacy.epsilon, "differential_privacy.epsilon"),
            (&self.privacy_delta, &mut privacy.delta, "differential_privacy.delta"),
        ] {
            match number(value) {
                Given::Nothing => {}
                Given::Number(number) => *place = number.as_f64().unwrap_or(f64::NAN),
                Given::Other => wrong(name),
            }
        }
        // Without noise it is off; the rest is checked all the same, so that nothing that is entered is passed over.
        if matches!(number(&self.privacy_noise), Given::Number(_)) {
            h.differential_privacy = Some(privacy);
        } else if let Err(errors) = privacy.validate() {
            errors.0.iter().for_each(|error| wrong(error.field));
        }
        let mut deadline = 0;
        if !whole(&self.round_deadline_s, &mut deadline) {
            wrong("round_deadline_s");
        } else if !matches!(number(&self.round_deadline_s), Given::Nothing) {
            config.round_deadline_s = Some(deadline);
        }
        match self.algorithm.as_str().map(str::parse::<Algorithm>) {
            Some(Ok(algorithm)) => h.algorithm = algorithm,
            None if self.algorithm.is_null() => {}
            _ => wrong("hyperparameters.algorithm"),
        }
        if let Err(errors) = config.validate() {
            errors.0.iter().for_each(|error| wrong(error.field));
        }
        match number(&self.seed) {
            Given::Nothing => {}
            Given::Number(number) if number.as_u64().is_some_and(|seed| seed <= MAX_SEED) => {
                config.hyperparameters.seed = number.as_u64().unwrap_or_default();
            }
            _ => invalid.push(Invalid { field: "seed", message: Message::TrainingSeed }),
        }
        let initial_model = match number(&self.initial_model) {
            Given::Nothing => None,
            Given::Number(number) if number.as_i64().is_some() => number.as_i64(),
            _ => {
                invalid.push(Invalid { field: "initial_model", message: Message::TrainingInitial });
                None
            }
        };
        let network = self.network.as_str().unwrap_or(if self.network.is_null() { "xs" } else { "" });
        if !NETWORKS.contains(&network) {
            invalid.push(Invalid { field: "network", message: Message::TrainingNetwork });
        }
        let sampling = self.sampling.as_str().unwrap_or(if self.sampling.is_null() { "usual" } else { "" }).to_owned();
        if !SAMPLINGS.contains(&sampling.as_str()) {
            invalid.push(Invalid { field: "sampling", message: Message::TrainingSampling });
        }
        let mut min_lung_ml = MIN_LUNG_ML;
        if !whole(&self.min_lung_ml, &mut min_lung_ml) || !(50..=5000).contains(&min_lung_ml) {
            invalid.push(Invalid { field: "min_lung_ml", message: Message::TrainingLung });
        }
        let preparation = Preparation { min_lung_ml, sampling };
        let note = match &self.note {
            Value::Null => Some(String::new()),
            Value::String(text) => sentence(text),
            _ => None,
        };
        if note.is_none() {
            invalid.push(Invalid { field: "note", message: text_too_long() });
        }
        let mut participants = self.participants;
        participants.sort();
        participants.dedup();
        if participants.is_empty() {
            invalid.push(Invalid { field: "participants", message: Message::TrainingNobody });
        } else if (participants.len() as u64) < u64::from(config.minimum_sites) {
            let message = Message::TrainingTooFew {
                chosen: participants.len().to_string(),
                minimum: config.minimum_sites.to_string(),
            };
            invalid.push(Invalid { field: "participants", message });
        } else if config.hyperparameters.differential_privacy.is_some() && participants.len() < LEAST_SITES {
            invalid.push(Invalid { field: "participants", message: Message::TrainingPrivacyFew });
        }
        if !invalid.is_empty() {
            // A value of the wrong kind leaves the default, which is fine, so nothing is told twice.
            return Err(invalid);
        }
        let (network, note) = (network.to_owned(), note.unwrap_or_default());
        Ok(Plan { config, network, preparation, initial_model, participants, note })
    }
}

/// What a session has by default, instead of the nothing that stands for it, and that somebody must take part.
fn with_defaults(schema: &mut schemars::Schema) {
    let config = serde_json::to_value(SessionConfig::default()).unwrap_or_default();
    for (name, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        let Some(property) = property.as_object_mut() else { continue };
        match config["hyperparameters"].get(name).or_else(|| config.get(name)) {
            Some(value) if !value.is_null() => property.insert("default".to_owned(), value.clone()),
            _ => property.remove("default"),
        };
    }
    schema.insert("required".to_owned(), vec!["participants"].into());
}

/// These names, or nothing.
fn names(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| Value::from(*name)).chain([Value::Null]).collect()
}

enum Given<'a> {
    Nothing,
    Number(&'a Number),
    Other,
}

fn number(value: &Value) -> Given<'_> {
    match value {
        Value::Null => Given::Nothing,
        Value::Number(number) => Given::Number(number),
        _ => Given::Other,
    }
}

/// A text of people for people, on one line; `None` where it is too long.
pub(crate) fn sentence(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    (text.chars().count() <= MAX_TEXT).then_some(text)
}

pub(crate) fn text_too_long() -> Message {
    Message::TextTooLong { limit: MAX_TEXT.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(value: Value) -> Result<Plan, Vec<&'static str>> {
        let entered: Entered = serde_json::from_value(value).unwrap();
        entered.check().map_err(|invalid| invalid.into_iter().map(|invalid| invalid.field).collect())
    }

    #[test]
    fn the_described_limits_are_those_that_are_checked() {
        let schema = schemars::schema_for!(Entered).to_value();
        let mut limits = 0;
        for (name, property) in schema["properties"].as_object().unwrap() {
            let fits = |value: i64| {
                let mut form = json!({ "participants": ["a", "b"] });
                form[name] = value.into();
                !check(form).is_err_and(|fields| fields.contains(&name.as_str()))
            };
            let step = property["multipleOf"].as_i64().unwrap_or(1);
            for (limit, beyond) in [("minimum", -step), ("maximum", step)] {
                let Some(limit) = property[limit].as_i64() else { continue };
                assert!(fits(limit) && !fits(limit + beyond), "{name}: {limit}");
                limits += 1;
            }
        }
        assert!(limits >= 12, "{limits}");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let plan = check(json!({ "participants": ["b", "a", "b"] })).unwrap();
        assert_eq!((plan.config, plan.participants), (SessionConfig::default(), vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!((plan.network.as_str(), plan.initial_model), ("xs", None));
    }

    #[test]
    fn all_problems_are_told_at_once_and_each_once() {
        let everything = json!({
            "rounds": 21, "local_epochs": 0, "patches_per_epoch": 0, "learning_rate": 2, "batch_size": 1e30, "patch_size": 63,
            "privacy_noise": 0, "privacy_clip": -1, "privacy_epsilon": "much", "privacy_delta": 1,
            "algorithm": "FedMagic", "network": "huge", "seed": -1, "minimum_sites": 1001, "round_deadline_s": 0,
            "initial_model": "1", "participants": [], "note": "a".repeat(MAX_TEXT + 1),
        });
        let mut fields = check(everything).unwrap_err();
        fields.sort_unstable();
        let mut expected = [
            "rounds",
            "local_epochs",
            "patches_per_epoch",
            "learning_rate",
            "batch_size",
            "patch_size",
            "privacy_noise",
            "privacy_clip",
            "privacy_epsilon",
            "privacy_delta",
            "algorithm",
            "network",
            "seed",
            "minimum_sites",
            "round_deadline_s",
            "initial_model",
            "participants",
            "note",
        ];
        expected.sort_unstable();
        assert_eq!(fields, expected);
        assert_eq!(check(json!({ "participants": ["a"] })).unwrap_err(), ["participants"]);
        let privately = json!({ "participants": ["a", "b"], "privacy_noise": 1 });
        assert_eq!(check(privately).unwrap_err(), ["participants"], "it needs secure aggregation");
        let privately =
            check(json!({ "participants": ["a", "b", "c"], "privacy_noise": 1.5, "privacy_epsilon": 3 })).unwrap();
        let expected = DifferentialPrivacy { noise_multiplier: 1.5, clip_norm: 1.0, epsilon: 3.0, delta: 1e-5 };
        assert_eq!(privately.config.hyperparameters.differential_privacy, Some(expected));
        let both = json!({ "participants": ["a", "b", "c"], "privacy_noise": 1.5, "algorithm": "SCAFFOLD" });
        assert_eq!(check(both).unwrap_err(), ["algorithm"]);
        assert_eq!(
            check(json!({ "participants": ["a"], "minimum_sites": 1, "rounds": "ten" })).unwrap_err(),
            ["rounds"]
        );
    }

    #[test]
    fn the_algorithms_and_networks_of_the_form_exist() {
        for algorithm in ALGORITHMS {
            let plan = check(json!({ "participants": ["a", "b"], "algorithm": algorithm })).unwrap();
            assert_eq!(crate::training::view::algorithm(&plan.config.hyperparameters.algorithm), algorithm);
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,20}".prop_map(Value::from),
            Just(json!([1])),
        ]
    }

    proptest! {
        #[test]
        fn nothing_that_is_entered_makes_it_panic_and_what_passes_is_valid(values in proptest::collection::vec(value(), 17)) {
            let names = [
                "privacy_noise", "privacy_clip", "privacy_epsilon", "privacy_delta",
                "rounds", "local_epochs", "patches_per_epoch", "learning_rate", "batch_size", "patch_size", "algorithm", "network",
                "seed", "minimum_sites", "round_deadline_s", "initial_model", "note",
            ];
            let mut entered: serde_json::Map<String, Value> = names.map(str::to_owned).into_iter().zip(values).collect();
            entered.insert("participants".to_owned(), json!(["a", "b"]));
            if let Ok(plan) = check(Value::Object(entered)) {
                prop_assert!(plan.config.validate().is_ok());
            }
        }
    }
}
