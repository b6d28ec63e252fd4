//! Sums of a real server with sites that are not quite what they should be, or on a disk that is not.

use std::collections::BTreeMap;
use std::fs;

use federation::secagg::{Abort, Answer, Basis, Participant, Refusal, Request, Standing, Surroundings, Totals};
use federation::*;
use transport::*;

use crate::support::*;
use crate::troubled_disk::{Trouble, TroubledDisk};

/// A site that masks whatever it is told to.
struct Puppet {
    identity: SigningKey,
    participant: Participant,
    /// Every value of its update.
    value: f32,
    words: Vec<u32>,
}

/// A session of one round that is about to be summed.
struct Sum {
    server: FederatedServer,
    puppets: BTreeMap<SiteId, Puppet>,
    /// They have trained from another model since they joined the sum.
    led_astray: bool,
    asked: Vec<Output>,
    _out: tempfile::TempDir,
}

impl Sum {
    fn of(values: [f32; 3], disk: &TroubledDisk) -> Self {
        let out = scratch();
        let config = config(1, "fedadam");
        let machine = Machine::on(Box::new(disk.clone()));
        let mut server =
            FederatedServer::create_on(machine, out.path(), id("s"), &sites(), config, initial(), Box::new(Raw))
                .unwrap();
        sites().into_iter().for_each(|site| drop(server.step(&Input::SiteJoined { site }).unwrap()));
        server.step(&Input::Start).unwrap().unwrap();
        let mut asked = Vec::new();
        for site in sites() {
            asked = server.step(&Input::SiteTrained { site, round: 1, samples_at_most: 1 }).unwrap().unwrap();
        }
        let roster = server.session().roster();
        let puppet = |(site, value): (SiteId, f32)| {
            let text = fs::read_to_string(site_folder(out.path(), &site).join("identity.key")).unwrap();
            let identity = SigningKey::from_bytes(Digest::try_from(text).unwrap().as_bytes());
            let (id, approved_roster) = (roster.id_of(&site).unwrap(), roster.digest());
            let standing = Standing { id, approved_roster, joined: BTreeMap::new(), unmasked: BTreeMap::new() };
            (site, Puppet { identity, participant: Participant::new(standing), value, words: Vec::new() })
        };
        let puppets = sites().into_iter().zip(values).map(puppet).collect();
        Self { server, puppets, led_astray: false, asked, _out: out }
    }

    /// An error is what a full disk makes of a step: the process lives on and tries again.
    fn step(&mut self, input: &Input) -> Vec<Output> {
        if let Ok(outputs) = self.server.step(input) {
            return outputs.unwrap();
        }
        let mut outputs = self.server.step(&Input::Resume).unwrap().unwrap();
        // Where the resumed step was already the consequence of this input, it is not needed any more.
        outputs.extend(self.server.step(input).unwrap().unwrap_or_default());
        outputs
    }

    /// Until the round has its model, or has none: why not, or why a site refuses.
    fn run(&mut self) -> Result<Option<FailureReason>, Refusal> {
        while self.server.session().phase() == Phase::Aggregating {
            assert!(!self.asked.is_empty(), "nobody is asked for anything");
            for output in std::mem::take(&mut self.asked) {
                let Output::Ask { site } = output else { continue };
                let Some(request) = self.server.session().request(&site).cloned() else { continue };
                let Puppet { identity, participant, value, words } = self.puppets.get_mut(&site).unwrap();
                let mut basis = self.server.session().basis();
                if self.led_astray && matches!(request, Request::Mask(..)) {
                    basis = Basis { model: Digest::of_bytes(b"another"), ..basis };
                }
                let mut around = Surroundings {
                    roster: self.server.session().roster(),
                    identity,
                    basis,
                    fill: &mut |bytes| getrandom::fill(bytes).unwrap(),
                    encode: &mut |encoding| encoding.encode([*value; DIM].into_iter(), 1, &[0; Totals::COUNTERS]),
                };
                let Answer { reply, words: new } = participant.answer(&request, &mut around)?;
                *words = new.unwrap_or(std::mem::take(words));
                let words = if matches!(request, Request::Mask(..)) { words.clone() } else { Vec::new() };
                let outputs = self.step(&Input::Replied { site, reply, words });
                self.asked.extend(outputs);
            }
        }
        Ok(self.server.session().failure().cloned())
    }
}

#[test]
fn a_sum_that_no_honest_sites_have_is_not_used() {
    let longest = Hyperparameters::default().max_update_norm as f32;
    let run = |values| Sum::of(values, &TroubledDisk::default()).run().unwrap();
    // Every site at its limit.
    assert_eq!(run([longest / (DIM as f32).sqrt(); 3]), None);
    // One far beyond it: every value at the clip, where only each value and not the norm is limited.
    let reason = run([0.0, 0.0, longest]).map(|reason| reason.to_string()).unwrap_or_default();
    assert!(reason.contains("norm"), "{reason:?}");
}

#[test]
fn an_update_of_another_model_is_not_masked() {
    let mut sum = Sum::of([0.0; 3], &TroubledDisk::default());
    sum.led_astray = true;
    assert_eq!(sum.run(), Err(Refusal::Abort(Abort::Basis { what: "global model" })));
}

/// The process lives on when a disk is full: what it holds in memory is still what is stored.
#[test]
fn a_round_that_cannot_be_stored_is_applied_once_when_it_can() {
    for trouble in [Trouble::DiskFull, Trouble::SyncFails] {
        let mut struck = 0;
        let mut expected = None;
        loop {
            let disk = TroubledDisk::default();
            let mut sum = Sum::of([0.1, 0.2, 0.3], &disk);
            let begin = disk.state().operations;
            // The first time without trouble.
            disk.state().trouble = expected.map(|_| (begin + struck + 1, trouble));
            assert_eq!(sum.run(), Ok(None));
            let session = sum.server.session();
            let model = *expected.get_or_insert(session.model());
            assert_eq!(session.model(), model, "{trouble:?} at operation {} of the sum", struck + 1);
            assert_eq!(sum.server.global().digest(), model, "{trouble:?} at operation {} of the sum", struck + 1);
            let unhurt = disk.state().trouble.take().is_some();
            if unhurt {
                break;
            }
            struck = disk.state().struck.saturating_sub(begin).max(struck);
        }
        assert!(struck > 50, "only {struck} operations");
    }
}
