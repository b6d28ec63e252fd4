//! What administrators do: launch, pause, resume, stop.

use federation::SiteId;
use rusqlite::Connection;
use serde_json::json;

use super::launch::Plan;
use super::readiness::{Candidate, may_take_part};
use super::{Cause, Entered, TrainingError, Trainings, note, sentence, text_too_long};
use crate::accounts::{Address, Caller, Invalid};
use crate::catalog::Message;
use crate::clock::Moment;
use crate::jobs::Stop;
use crate::store::audit::{self, Action};
use crate::store::models;
use crate::store::trainings::{self, Change, NewTraining, Site, State, Training};

/// What an administrator wants of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Pause,
    Resume,
    Stop,
}

impl Trainings {
    /// Puts a training into the queue and says its number.
    pub(crate) async fn launch(
        &self,
        caller: Caller,
        entered: Entered,
        address: Address,
    ) -> Result<i64, TrainingError> {
        let plan = entered.check().map_err(TrainingError::Invalid)?;
        let now = self.0.clock.now();
        let known = self.candidates().await?;
        let id = self.0.store.write(now, move |db| launch(db, &known, &caller, &plan, address, now)).await?;
        self.wake();
        Ok(id)
    }

    /// Changes the course of a training.
    pub(crate) async fn change(
        &self,
        caller: Caller,
        id: i64,
        wish: Wish,
        reason: String,
        address: Address,
    ) -> Result<(), TrainingError> {
        let now = self.0.clock.now();
        let reason = sentence(&reason)
            .ok_or_else(|| TrainingError::Invalid(vec![Invalid { field: "reason", message: text_too_long() }]))?;
        let begun = self.0.has_begun(id);
        let job = move |db: &Connection| {
            let training = trainings::get(db, id)?.ok_or(TrainingError::None)?;
            let state = next_state(&training, wish, begun).ok_or(TrainingError::NotNow(training.state))?;
            let cause = (wish != Wish::Resume).then_some(Cause::Administrator);
            let said = cause.is_some().then_some(reason.as_str());
            trainings::set_state(db, id, &Change { state, cause, reason: said }, now)?;
            if wish == Wish::Resume {
                trainings::queue_last(db, id, now)?;
                trainings::set_crashes(db, id, 0)?;
            }
            note(db, id, state.name(), None, &json!({ "by": caller.username, "reason": reason }), now)?;
            let (action, address) = (wish.action(), address.shown());
            let detail = format!("#{id} {reason}");
            let event = audit::Event {
                action,
                actor: Some(&caller.username),
                target: None,
                address: Some(&address),
                detail: detail.trim_end(),
            };
            audit::append(db, &event, now)?;
            Ok::<_, TrainingError>(state)
        };
        let state = self.0.store.write(now, job).await?;
        if let Some(lane) = self.0.lane.get() {
            match state {
                State::Pausing => lane.stop(id, Stop::Suspend),
                State::Stopping => lane.stop(id, Stop::Cancel),
                _ => {}
            }
        }
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        if let Some(lane) = self.0.lane.get() {
            lane.wake();
        }
    }
}

impl Wish {
    fn action(self) -> Action {
        match self {
            Self::Pause => Action::TrainingPaused,
            Self::Resume => Action::TrainingResumed,
            Self::Stop => Action::TrainingStopped,
        }
    }
}

/// `None` where the state does not allow it. What has `begun` has a session whose record must be closed, too.
fn next_state(training: &Training, wish: Wish, begun: bool) -> Option<State> {
    match (wish, training.state) {
        (Wish::Pause, State::Queued) => Some(State::Paused),
        (Wish::Pause, State::Running) => Some(State::Pausing),
        (Wish::Resume, State::Paused) => Some(State::Queued),
        (Wish::Stop, State::Running | State::Pausing) => Some(State::Stopping),
        (Wish::Stop, State::Queued | State::Paused) if begun => Some(State::Stopping),
        (Wish::Stop, State::Queued | State::Paused) => Some(State::Cancelled),
        _ => None,
    }
}

fn launch(
    db: &Connection,
    known: &[Candidate],
    caller: &Caller,
    plan: &Plan,
    address: Address,
    now: Moment,
) -> Result<i64, TrainingError> {
    let mut invalid = Vec::new();
    let mut sites = Vec::new();
    for name in &plan.participants {
        let candidate = known.iter().find(|candidate| candidate.username == *name);
        match candidate {
            // A user's name is a site's name, too.
            Some(candidate) if candidate.ready && may_take_part(db, name)? && SiteId::new(name.as_str()).is_ok() => {
                sites.push(Site {
                    user_id: candidate.user_id,
                    username: candidate.username.clone(),
                    institution: candidate.institution.clone(),
                    scans: candidate.annotated,
                    nodules: candidate.nodules,
                })
            }
            Some(_) => {
                let message = Message::TrainingNotReady { name: name.clone() };
                invalid.push(Invalid { field: "participants", message });
            }
            None => {
                let name: String = name.chars().take(40).collect();
                invalid.push(Invalid { field: "participants", message: Message::TrainingUnknown { name } });
            }
        }
    }
    if let Some(id) = plan.initial_model {
        match models::get(db, id)? {
            Some(model) if model.network == plan.network => {}
            Some(model) => {
                let message = Message::TrainingOtherNetwork { network: model.network };
                invalid.push(Invalid { field: "initial_model", message });
            }
            None => invalid.push(Invalid { field: "initial_model", message: Message::TrainingInitial }),
        }
    }
    if !invalid.is_empty() {
        return Err(TrainingError::Invalid(invalid));
    }
    let new = NewTraining {
        network: &plan.network,
        preparation: &plan.preparation,
        config: &plan.config,
        initial_model: plan.initial_model,
        note: &plan.note,
        created_by: caller.user_id,
        sites: &sites,
    };
    let id = trainings::insert(db, &new, now)?;
    note(db, id, "queued", None, &json!({ "by": caller.username, "reason": "" }), now)?;
    let (address, detail) = (address.shown(), format!("#{id}"));
    let event = audit::Event {
        action: Action::TrainingLaunched,
        actor: Some(&caller.username),
        target: None,
        address: Some(&address),
        detail: &detail,
    };
    audit::append(db, &event, now)?;
    Ok(id)
}
