//! A site of the federation: the boundary that its failures do not cross.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use federation::{Evaluation, GlobalModel, Hyperparameters, LocalTrainer, Progress, SiteId, TrainerError, Update};

/// Why a site has no result.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// It could not do its task.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    /// Its code panicked, now or in an earlier task.
    #[error("the site's trainer panicked: {0}; restart the program to use this site again")]
    Panicked(String),
}

/// Wraps the trainer of one site.
pub struct FederatedClient {
    site: SiteId,
    trainer: Box<dyn LocalTrainer + Send>,
    /// A trainer that panicked may be half changed, so it is not used again.
    panicked: Option<String>,
}

impl FederatedClient {
    /// The site of that name, with its trainer.
    pub fn new(site: SiteId, trainer: Box<dyn LocalTrainer + Send>) -> Self {
        Self { site, trainer, panicked: None }
    }

    /// Its name.
    pub fn site(&self) -> &SiteId {
        &self.site
    }

    /// [`LocalTrainer::train_round`] without its panics.
    pub fn train_round(
        &mut self,
        global: &GlobalModel,
        round: u32,
        hyperparameters: &Hyperparameters,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Update, SiteError> {
        self.guarded(|trainer| trainer.train_round(global, round, hyperparameters, progress))
    }

    /// [`LocalTrainer::evaluate`] without its panics.
    pub fn evaluate(
        &mut self,
        global: &GlobalModel,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Option<Evaluation>, SiteError> {
        self.guarded(|trainer| trainer.evaluate(global, progress))
    }

    fn guarded<T>(
        &mut self,
        task: impl FnOnce(&mut dyn LocalTrainer) -> Result<T, TrainerError>,
    ) -> Result<T, SiteError> {
        if let Some(text) = &self.panicked {
            return Err(SiteError::Panicked(text.clone()));
        }
        // Unwind safe because the trainer is never used again.
        match catch_unwind(AssertUnwindSafe(|| task(self.trainer.as_mut()))) {
            Ok(result) => Ok(result?),
            Err(panic) => {
                let text = self.panicked.insert(panic_text(panic.as_ref()));
                Err(SiteError::Panicked(text.clone()))
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}
