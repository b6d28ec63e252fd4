//! How hard the phantoms are (合成体模结果): `acceptance <scans> <small|full> <seed> <folder>`. They are right when a
//! classical blob detector fails on them because of the vessels, and a 3D U-Net trained on others of their kind does not.
//! The folder keeps the data and the model.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for the terminal")]

use std::error::Error;
use std::path::Path;

use detector::inference::{Mode, PredictOptions};
use detector::training::Sampling;
use detector::{Architecture, DeviceChoice, Plan};
use federation::{Hyperparameters, SiteId};
use phantom::acceptance::acceptance;
use phantom::{DatasetSpec, HospitalStyle, Size, write_dataset};
use transport::Stop;
use workflow::central::{CentralRequest, steps_per_session, train_centrally};
use workflow::held_out::HeldOut;
use workflow::local::Task;
use workflow::site::{Site, SiteRequest};

/// How the U-Net learns a size of phantoms.
struct Recipe {
    network: &'static str,
    /// Scans of every style, by their size.
    scans: &'static [(Size, usize)],
    patches_per_epoch: u32,
    learning_rate: f64,
}

impl Recipe {
    /// A full scan has eight times as many places to be wrong as a small one, and a third of its nodules: it takes a
    /// larger network and more scans, of which small ones bring the nodules.
    fn of(size: Size) -> Self {
        match size {
            Size::Small => {
                Self { network: "xxs", scans: &[(Size::Small, 6)], patches_per_epoch: 360, learning_rate: 4e-3 }
            }
            Size::Full => {
                let scans = &[(Size::Full, 18), (Size::Small, 16)];
                Self { network: "xs", scans, patches_per_epoch: 1080, learning_rate: 3e-3 }
            }
        }
    }
}

/// The U-Net should reach this CPM: less, and the phantoms are too hard to learn from; more, and they are too easy.
const UNET_CPM: std::ops::RangeInclusive<f64> = 0.80..=0.95;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, scans, size, seed, folder] = &arguments[..] else {
        return Err("usage: acceptance <scans> <small|full> <seed> <folder>".into());
    };
    let size = if size == "full" { Size::Full } else { Size::Small };
    let (scans, seed) = (scans.parse::<usize>()?, seed.parse()?);

    let classical = acceptance(scans, size, seed, &mut |done, total| eprintln!("blob detector {done}/{total}"))?;
    let learned = unet(scans, size, seed, Path::new(folder))?;

    let verdict = |holds: bool| if holds { "holds" } else { "does not hold" };
    println!("合成体模结果: {} scans, {} nodules", classical.scans, classical.nodules);
    let limit = phantom::acceptance::MAX_BASELINE_CPM;
    println!(
        "blob detector (LoG)        CPM {:.3}   at most {limit:.2}: {}",
        classical.cpm,
        verdict(classical.cpm <= limit)
    );
    let (gain, wanted) = (classical.cpm_without_vessels - classical.cpm, phantom::acceptance::MIN_VESSEL_EFFECT);
    println!(
        "the same without vessels   CPM {:.3}   {wanted:.2} more ({gain:+.3}): {}",
        classical.cpm_without_vessels,
        verdict(gain >= wanted)
    );
    let [low, high] = learned.cpm_ci95.unwrap_or([f64::NAN; 2]);
    println!(
        "3D U-Net on other phantoms CPM {:.3}   {:.2} to {:.2}: {} (95 % {low:.3}–{high:.3})",
        learned.cpm,
        UNET_CPM.start(),
        UNET_CPM.end(),
        verdict(UNET_CPM.contains(&learned.cpm))
    );
    Ok(())
}

/// Trains the U-Net on phantoms of the next seed and scores it on those of this one.
fn unet(scans: usize, size: Size, seed: u64, folder: &Path) -> Result<scoring::Summary, Box<dyn Error>> {
    let styles = HospitalStyle::ALL.len();
    let data = |name: &str, size, scans, seed| {
        let spec = DatasetSpec::new(styles, scans, size, seed);
        let summary = write_dataset(&folder.join(name), &spec, &mut |p| eprintln!("{name} {}/{}", p.done, p.total))?;
        Ok::<_, Box<dyn Error>>(summary.sites)
    };
    let scored = HeldOut::read(&data("scored", size, scans.div_ceil(styles), seed)?)?;
    let recipe = Recipe::of(size);
    let hyperparameters = Hyperparameters {
        rounds: 20,
        local_epochs: 1,
        patches_per_epoch: recipe.patches_per_epoch,
        batch_size: 6,
        patch_size: 48,
        learning_rate: recipe.learning_rate,
        ..Hyperparameters::default()
    };
    let plan = |size: Size| {
        let mut plan = Plan::with_patch(hyperparameters.patch_size as usize);
        plan.lungs.volume_ml = size.lung_volume_ml();
        plan
    };
    let network = Architecture::by_name(recipe.network)?;
    let note = "合成体模结果 / phantoms only".to_owned();
    let task = Task::new(network, plan(size), Sampling::brief(), note, DeviceChoice::Auto.open()?.device)?;
    let mut scans = Vec::new();
    for &(size, count) in recipe.scans {
        for (number, folder_of_site) in (1..).zip(data(&format!("training_{}", size.name()), size, count, seed + 1)?) {
            let id = SiteId::new(format!("site{number}"))?;
            let site = SiteRequest { id, folder: folder_of_site, annotations: None };
            scans.extend(Site::load(&site, &plan(size), &folder.join("work"), &mut |_, _| ())?.scans);
        }
    }
    let central = CentralRequest {
        task: &task,
        hyperparameters: &hyperparameters,
        batch_size: hyperparameters.batch_size as usize,
        scans: &scans,
        stream: 0,
        initial: None,
        name: "acceptance".to_owned(),
    };
    let steps = steps_per_session(&hyperparameters);
    let mut observer = |done: u64, _, loss: f64| {
        if done.is_multiple_of(25) {
            eprintln!("step {done}/{steps}, loss {loss:.3}");
        }
    };
    let model = folder.join("acceptance.safetensors");
    train_centrally(&central, &mut observer, &Stop::default())?.save(&model, weights::Overwrite::Allow)?;
    // Every candidate counts for the curve.
    let options = PredictOptions { threshold: 0.0, mode: Mode::Standard };
    let total = scored.len();
    let mut observer = |done| eprintln!("U-Net {done}/{total}");
    Ok(scored.judge(&model, &task.device, &options, &mut observer, &Stop::default())?.summary)
}
