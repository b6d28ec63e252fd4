// No doc comments here: clap would show them, and the help comes from the catalogue (see `page`).
//! The arguments of every command.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use detector::DeviceChoice;
use detector::inference::Mode;
use federation::{Algorithm, Protection, SessionId, SiteId};
use phantom::Size;
use workflow::catalog::Language;

#[derive(Debug, Parser)]
#[command(name = "fednodule", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[arg(long, global = true, value_name = "LANG", value_parser = one_of(LANGUAGES), display_order = 990)]
    pub(crate) lang: Option<Language>,
    #[arg(long, global = true, display_order = 980)]
    pub(crate) json: bool,
    #[arg(long, global = true, display_order = 985)]
    pub(crate) supervised: bool,
    #[command(subcommand)]
    pub(crate) job: Job,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    Inspect(Inspect),
    Phantom(Phantom),
    Train(Box<Train>),
    Predict(Predict),
    Evaluate(Evaluate),
    Export(Export),
    Demo(Demo),
    Serve(Serve),
    VerifyAudit(VerifyAudit),
    SecaggCheck(SecaggCheck),
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[arg(value_name = "SCAN.mhd")]
    pub(crate) scan: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Phantom {
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) sites: u32,
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) scans: u32,
    #[arg(long, value_name = "SIZE", default_value = "small", value_parser = one_of(SIZES))]
    pub(crate) size: Size,
    #[arg(long, value_name = "S", default_value = "0")]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Train {
    #[arg(long = "site", value_name = "NAME=DIR", value_parser = site, required_unless_present = "resume", conflicts_with = "resume")]
    pub(crate) sites: Vec<NamedFolder>,
    #[arg(long, value_name = "CSV")]
    pub(crate) annotations: Option<PathBuf>,
    #[arg(long, value_name = "R", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
    #[arg(long, value_name = "E", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=10))]
    pub(crate) local_epochs: u32,
    #[arg(long, value_name = "NAME", default_value = "FedAvg", value_parser = algorithm())]
    pub(crate) algorithm: Algorithm,
    #[arg(long, value_name = "DIR", default_value = "output")]
    pub(crate) out: PathBuf,
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<SessionId>,
    #[arg(long, value_name = "ID", conflicts_with = "session")]
    pub(crate) resume: Option<SessionId>,
    #[arg(long, value_name = "SIZE", default_value = "xs", value_parser = PossibleValuesParser::new(["xxs", "xs", "s", "m", "l", "classic"]))]
    pub(crate) network: String,
    #[arg(long, value_name = "FILE")]
    pub(crate) initial: Option<PathBuf>,
    #[arg(long, value_name = "N", default_value = "400")]
    pub(crate) patches_per_epoch: u32,
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) patch_size: u32,
    #[arg(long, value_name = "N", default_value = "4")]
    pub(crate) batch_size: u32,
    #[arg(long, value_name = "ML", default_value = "1500", value_parser = clap::value_parser!(u32).range(50..=5000))]
    pub(crate) min_lung_ml: u32,
    #[arg(long, value_name = "NAME", default_value = "usual", value_parser = PossibleValuesParser::new(["usual", "brief"]))]
    pub(crate) sampling: String,
    #[arg(long, value_name = "RATE", default_value = "0.001")]
    pub(crate) learning_rate: f64,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) min_sites: Option<u32>,
    #[arg(long, value_name = "NAME", value_parser = one_of(PROTECTIONS))]
    pub(crate) protection: Option<Protection>,
    #[arg(long, value_name = "NORM", default_value = "100")]
    pub(crate) max_update_norm: f64,
    #[arg(long, value_name = "SIGMA")]
    pub(crate) privacy_noise: Option<f64>,
    #[arg(long, value_name = "NORM", default_value = "1", requires = "privacy_noise")]
    pub(crate) privacy_clip: f64,
    #[arg(long, value_name = "E", default_value = "8", requires = "privacy_noise")]
    pub(crate) privacy_epsilon: f64,
    #[arg(long, value_name = "D", default_value = "0.00001", requires = "privacy_noise")]
    pub(crate) privacy_delta: f64,
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    pub(crate) round_deadline: Option<u32>,
    #[arg(long, value_name = "S", default_value = "0")]
    pub(crate) seed: u64,
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = one_of(DEVICES))]
    pub(crate) device: DeviceChoice,
}

#[derive(Debug, Args)]
pub(crate) struct Predict {
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[arg(long, value_name = "MODE", default_value = "standard", value_parser = one_of(MODES))]
    pub(crate) mode: Mode,
    #[arg(long, value_name = "T", default_value = "0.1", value_parser = probability)]
    pub(crate) threshold: f64,
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = one_of(DEVICES))]
    pub(crate) device: DeviceChoice,
    #[arg(value_name = "SCAN", required = true)]
    pub(crate) scan: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Evaluate {
    #[arg(long, value_name = "CSV")]
    pub(crate) submission: PathBuf,
    #[arg(long, value_name = "CSV")]
    pub(crate) annotations: PathBuf,
    #[arg(long, value_name = "CSV")]
    pub(crate) excluded: Option<PathBuf>,
    #[arg(long, value_name = "CSV")]
    pub(crate) seriesuids: PathBuf,
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    #[arg(long, value_name = "FILE.pth", value_parser = pth)]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[arg(long)]
    pub(crate) quick: bool,
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) serve: Option<SocketAddr>,
    #[arg(long, requires = "serve")]
    pub(crate) exit: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyAudit {
    #[arg(long, value_name = "DIR", default_value = "fednodule-data")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SecaggCheck {
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[arg(long, value_name = "SEED")]
    pub(crate) seed: Option<String>,
}

/// `NAME=DIR`.
#[derive(Debug, Clone)]
pub(crate) struct NamedFolder {
    pub(crate) id: SiteId,
    pub(crate) folder: PathBuf,
}

type Choices<T> = &'static [(&'static str, T)];

const LANGUAGES: Choices<Language> = &[("zh", Language::Zh), ("en", Language::En)];
const SIZES: Choices<Size> = &[("full", Size::Full), ("small", Size::Small)];
const MODES: Choices<Mode> = &[("fast", Mode::Fast), ("standard", Mode::Standard), ("accurate", Mode::Accurate)];
const PROTECTIONS: Choices<Protection> =
    &[("secure-aggregation", Protection::SecureAggregation), ("sealed", Protection::Sealed)];
const DEVICES: Choices<DeviceChoice> =
    &[("auto", DeviceChoice::Auto), ("cpu", DeviceChoice::Cpu), ("gpu", DeviceChoice::Gpu)];

fn one_of<T: Copy + Send + Sync + 'static>(choices: Choices<T>) -> impl TypedValueParser<Value = T> {
    let names = choices.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(names).try_map(move |chosen| {
        choices.iter().find(|(name, _)| *name == chosen).map(|(_, value)| *value).ok_or(std::fmt::Error)
    })
}

fn algorithm() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(["FedAvg", "FedProx", "SCAFFOLD", "FedAvgM", "FedAdam"])
        .try_map(|name| name.parse::<Algorithm>())
}

fn site(text: &str) -> Result<NamedFolder, String> {
    let (name, folder) = text.split_once('=').ok_or("NAME=DIR")?;
    if folder.is_empty() {
        return Err("NAME=DIR".to_owned());
    }
    let id = SiteId::new(name).map_err(|error| error.to_string())?;
    Ok(NamedFolder { id, folder: folder.into() })
}

fn probability(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or("0 … 1")
}

fn pth(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pth")) { Ok(path) } else { Err("*.pth") }
}
