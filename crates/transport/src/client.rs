//! A site of the federation: the boundary that its failures do not cross, and that its update leaves masked or sealed.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use federation::sealing::{Content, SealContext, Sealed, SealingError};
use federation::secagg::{Encoding, EncodingError, Reply, Request, Roster, Surroundings, Totals};
use federation::{
    Announcement, AnnouncementError, Digest, Evaluation, GlobalModel, Hyperparameters, LocalTrainer, Metrics, Progress,
    Protection, Purpose, SessionId, SignedAnnouncement, SiteId, TrainerError, UpdateProblem,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::disk::{Disk, FileSystem};
use crate::keys::{self, KeyError};
use crate::vault::{Done, Evaluated, SiteState, Trained, Vault, VaultError};

/// Why a site has no result.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// It could not do its task.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    /// Its code panicked, now or in an earlier task.
    #[error("the site's trainer panicked: {0}; restart the program to use this site again")]
    Panicked(String),
    /// The coordinator's announcement is not what came.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// The announced configuration is not the one that came.
    #[error("the training configuration that came is not the one that the coordinator has signed: it is not used")]
    Configuration,
    /// A task from before the newest one that this site has done.
    #[error("this site is asked for round {round} of a session in which it has gone further: the request is old")]
    Overtaken {
        /// Of the task.
        round: u32,
    },
    /// What was trained cannot be sent.
    #[error(transparent)]
    Update(#[from] UpdateProblem),
    /// Its own folder.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Sealing.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// Differential privacy without secure aggregation.
    #[error(
        "the site trains with differential privacy, and single metrics would tell what its noise hides: secure aggregation is needed"
    )]
    Unmasked,
    /// The site has joined no session.
    #[error("the site was not told which session it takes part in")]
    NoSession,
}

impl From<KeyError> for SiteError {
    fn from(error: KeyError) -> Self {
        Self::Vault(error.into())
    }
}

/// What leaves a site after a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It keeps its result for a secure sum.
    Ready {
        /// Upper bound of its samples, a power of two; after a training.
        samples_at_most: u32,
    },
    /// Encrypted to the coordinator.
    Sealed(Sealed),
}

/// A result as the site itself sees it. It is the site's own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Own {
    /// Samples behind it.
    pub num_examples: u32,
    /// How it went.
    pub metrics: Metrics,
    /// Euclidean norm of the update before it was limited; 0 for a judgement.
    pub norm: f64,
    /// ε that the site's data have cost so far, with differential privacy.
    pub epsilon: Option<f64>,
}

/// Wraps the trainer of one site.
pub struct FederatedClient {
    site: SiteId,
    trainer: Box<dyn LocalTrainer + Send>,
    /// A trainer that panicked may be half changed, so it is not used again.
    panicked: Option<String>,
    membership: Option<Membership>,
    disk: Option<Box<dyn Disk>>,
}

/// The site's place in a session.
struct Membership {
    session: SessionId,
    vault: Vault,
    state: SiteState,
}

impl FederatedClient {
    /// The site of that name, with its trainer.
    pub fn new(site: SiteId, trainer: Box<dyn LocalTrainer + Send>) -> Self {
        Self { site, trainer, panicked: None, membership: None, disk: None }
    }

    /// Its name.
    pub fn site(&self) -> &SiteId {
        &self.site
    }

    /// The same site, keeping what it keeps on another disk from its next session on.
    pub fn on(self, disk: Box<dyn Disk>) -> Self {
        Self { disk: Some(disk), ..self }
    }

    /// Takes its place in a session, with what it keeps below `out`. `roster` is the one that its owner has approved.
    ///
    /// # Errors
    /// When its own folder cannot be used, or the roster does not name it.
    pub fn join(&mut self, out: &Path, session: &SessionId, roster: &Roster) -> Result<(), SiteError> {
        let disk = self.disk.take().unwrap_or_else(|| Box::new(FileSystem));
        let (vault, state) = Vault::open(disk, out, &self.site, session, roster)?;
        self.membership = Some(Membership { session: session.clone(), vault, state });
        Ok(())
    }

    /// [`LocalTrainer::train_round`] without its panics, from an announced model only. The update stays here, or leaves
    /// sealed. An update that stays is trained once, however often it is asked for: a sum may be on its way with it.
    pub fn train_round(
        &mut self,
        global: &GlobalModel,
        announcement: &SignedAnnouncement,
        round: u32,
        hyperparameters: &Hyperparameters,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(Outcome, Own), SiteError> {
        let announcement = self.checked(global, announcement, round, Purpose::Training)?;
        let config = Digest::of_bytes(&serde_json::to_vec(hyperparameters).unwrap_or_default());
        if announcement.basis.config != Some(config) {
            return Err(SiteError::Configuration);
        }
        let known = self.done(&announcement, Purpose::Training).and_then(|state| state.trained.as_ref());
        if let Some(own) = known.filter(|known| known.basis == announcement.basis).and_then(|known| known.own) {
            return Ok((ready(own.num_examples), own));
        }
        let mut update = self.guarded(|trainer| trainer.train_round(global, round, hyperparameters, progress))?;
        update.check(&global.schema())?;
        let norm = update.limit_norm(hyperparameters.max_update_norm, global.parameters.len());
        let epsilon = self.trainer.privacy_spent();
        let own = Own { num_examples: update.num_examples, metrics: update.metrics, norm, epsilon };
        let private = hyperparameters.differential_privacy.is_some();
        let site = self.site.clone();
        let member = self.membership.as_mut().ok_or(SiteError::NoSession)?;
        let mut state = member.state.clone();
        state.newest = Some(Done { round, purpose: Purpose::Training, protection: announcement.protection });
        if announcement.protection == Protection::Sealed {
            if private {
                return Err(SiteError::Unmasked);
            }
            member.commit(state)?;
            return Ok((member.seal(site, &Content::Update(update), &announcement)?, own));
        }
        let digest = Digest::of_values(&update.delta);
        member.vault.put(digest, update.delta.iter().map(|value| value.to_bits()))?;
        // Metrics have no noise: with differential privacy not even their sums leave.
        let totals = if private { Totals::default() } else { Totals::of(update.num_examples, &update.metrics) };
        let num_examples = update.num_examples;
        state.trained =
            Some(Trained { basis: announcement.basis, update: digest, num_examples, totals, own: Some(own) });
        state.words = None;
        member.commit(state)?;
        Ok((ready(num_examples), own))
    }

    /// [`LocalTrainer::evaluate`] without its panics. The judgement stays here, or leaves sealed.
    pub fn evaluate(
        &mut self,
        global: &GlobalModel,
        announcement: &SignedAnnouncement,
        round: u32,
        hyperparameters: &Hyperparameters,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(Outcome, Option<Own>), SiteError> {
        let announcement = self.checked(global, announcement, round, Purpose::Evaluation)?;
        let known = self.done(&announcement, Purpose::Evaluation).and_then(|state| state.evaluated.as_ref());
        if let Some(known) = known.filter(|known| known.basis == announcement.basis) {
            return Ok((Outcome::Ready { samples_at_most: 1 }, known.own));
        }
        let evaluation = self.guarded(|trainer| trainer.evaluate(global, progress))?;
        evaluation.as_ref().map_or(Ok(()), Evaluation::check)?;
        let own = evaluation.map(|Evaluation { num_examples, metrics }| Own {
            num_examples,
            metrics,
            norm: 0.0,
            epsilon: None,
        });
        let site = self.site.clone();
        let member = self.membership.as_mut().ok_or(SiteError::NoSession)?;
        let mut state = member.state.clone();
        state.newest = Some(Done { round, purpose: Purpose::Evaluation, protection: announcement.protection });
        if announcement.protection == Protection::Sealed {
            member.commit(state)?;
            return Ok((member.seal(site, &Content::Evaluation(evaluation), &announcement)?, own));
        }
        let told = evaluation.filter(|_| hyperparameters.differential_privacy.is_none());
        let totals = told.map(|evaluation| Totals::of(evaluation.num_examples, &evaluation.metrics));
        let totals = totals.unwrap_or_default();
        state.evaluated = Some(Evaluated { basis: announcement.basis, totals, own });
        member.commit(state)?;
        Ok((Outcome::Ready { samples_at_most: 1 }, own))
    }

    /// The site's part in a secure sum: nothing where the request is merely old. The same request gets the same reply, also
    /// after a restart; whatever is returned is durable.
    pub fn answer(&mut self, request: &Request) -> Result<Option<(Reply, Vec<u32>)>, SiteError> {
        self.membership.as_mut().ok_or(SiteError::NoSession)?.answer(request)
    }

    /// What came, if the coordinator has signed exactly that, and it is neither old nor less protected than before.
    fn checked(
        &self,
        global: &GlobalModel,
        announcement: &SignedAnnouncement,
        round: u32,
        purpose: Purpose,
    ) -> Result<Announcement, SiteError> {
        let member = self.membership.as_ref().ok_or(SiteError::NoSession)?;
        let announcement = announcement.verify(&member.state.roster, &member.session, round, global.digest())?;
        if let Some(newest) = member.state.newest {
            if (newest.round, newest.purpose) > (round, purpose) {
                return Err(SiteError::Overtaken { round });
            }
            if newest.protection != announcement.protection {
                return Err(AnnouncementError::Lowered { sites: member.state.roster.members().len() }.into());
            }
        }
        Ok(announcement)
    }

    /// The site's state, if this very task is the newest that it has done.
    fn done(&self, announcement: &Announcement, purpose: Purpose) -> Option<&SiteState> {
        let state = &self.membership.as_ref()?.state;
        let same = |done: &Done| (done.round, done.purpose) == (announcement.round, purpose);
        state.newest.as_ref().is_some_and(same).then_some(state)
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

impl Membership {
    fn commit(&mut self, state: SiteState) -> Result<(), VaultError> {
        self.vault.commit(&state)?;
        self.state = state;
        Ok(())
    }

    fn seal(&self, site: SiteId, content: &Content, announcement: &Announcement) -> Result<Outcome, SiteError> {
        let context = SealContext {
            session: self.session.clone(),
            round: announcement.round,
            site,
            model: announcement.basis.model,
        };
        let random = Zeroizing::new(keys::random()?);
        let sealed = Sealed::seal(content, &context, announcement.sealing_key, &self.vault.identity, random)?;
        Ok(Outcome::Sealed(sealed))
    }

    fn answer(&mut self, request: &Request) -> Result<Option<(Reply, Vec<u32>)>, SiteError> {
        let mut next = self.state.clone();
        let job = match request {
            Request::Join(manifest) => Some(manifest.job()),
            _ => self.state.participant.job(),
        };
        let of_updates = job != Some(Purpose::Evaluation.job(&self.session).as_str());
        let trained = self.state.trained.as_ref().filter(|_| of_updates);
        let evaluated = self.state.evaluated.as_ref().filter(|_| !of_updates);
        let Some(basis) = trained.map(|own| own.basis).or(evaluated.map(|own| own.basis)) else {
            let reason = "this site has nothing for this sum".to_owned();
            return Ok(Some((Reply::Refused { sid: request.sid(), reason }, Vec::new())));
        };
        let mut problem = None;
        let mut encode = |encoding: &Encoding| -> Result<Vec<u32>, EncodingError> {
            match (trained, evaluated) {
                (Some(own), _) => {
                    let delta = self.vault.get(own.update).unwrap_or_else(|error| {
                        problem = Some(error);
                        Vec::new()
                    });
                    let delta = delta.iter().map(|bits| f32::from_bits(*bits));
                    encoding.encode(delta, own.num_examples.min(encoding.omega_max), &own.totals.counters())
                }
                (None, Some(own)) => encoding.encode([0.0_f32].into_iter(), 1, &own.totals.counters()),
                (None, None) => encoding.encode([0.0_f32; 0].into_iter(), 1, &[]),
            }
        };
        let mut no_random = None;
        let mut fill = |bytes: &mut [u8]| no_random = getrandom::fill(bytes).err().or(no_random);
        let mut around = Surroundings {
            roster: &self.state.roster,
            identity: &self.vault.identity,
            basis,
            fill: &mut fill,
            encode: &mut encode,
        };
        let answered = next.participant.answer(request, &mut around);
        if let Some(error) = no_random {
            return Err(KeyError::Random(error.to_string()).into());
        }
        if let Some(problem) = problem {
            return Err(problem.into());
        }
        match answered {
            Ok(answer) => {
                let words = match (&answer.reply, answer.words) {
                    (Reply::Masked(message), Some(words)) => {
                        let digest = Digest::from(message.digest);
                        self.vault.put(digest, words.iter().copied())?;
                        next.words = Some(digest);
                        words
                    }
                    // Made before: what is sent again is what was sent then.
                    (Reply::Masked(message), None) if self.state.words == Some(Digest::from(message.digest)) => {
                        self.vault.get(Digest::from(message.digest))?
                    }
                    // The site has learned something new since: that sum is over.
                    (Reply::Masked(_), None) => return Ok(None),
                    _ => Vec::new(),
                };
                self.commit(next)?;
                Ok(Some((answer.reply, words)))
            }
            Err(refusal) if refusal.is_out_of_turn() => Ok(None),
            Err(refusal) => {
                self.commit(next)?;
                Ok(Some((Reply::Refused { sid: request.sid(), reason: refusal.to_string() }, Vec::new())))
            }
        }
    }
}

/// Larger numbers are said to be smaller: the weight of one site has an end.
fn ready(num_examples: u32) -> Outcome {
    Outcome::Ready { samples_at_most: num_examples.checked_next_power_of_two().unwrap_or(u32::MAX).min(1 << 24) }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}
