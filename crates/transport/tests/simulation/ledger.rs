//! Everything that every site ever sent in secure sums, and what must never be among it.

use std::collections::{BTreeMap, BTreeSet};

use federation::Digest;
use federation::secagg::{Manifest, NodeId, Reply, Request, Unmasking};

/// A sum, as its manifest names it.
type Sid = [u8; 32];

#[derive(Default)]
pub(crate) struct Ledger {
    /// By site and request.
    replies: BTreeMap<(usize, Digest), (Vec<u8>, Vec<u32>)>,
    /// Every manifest that a site has joined.
    sums: BTreeMap<Sid, Manifest>,
    /// Whose public keys were seen in which sum.
    keys: BTreeMap<[u8; 32], (usize, Sid)>,
    /// Hashes of masked words.
    words: BTreeMap<Digest, (usize, Sid)>,
    unmaskings: BTreeMap<Sid, BTreeMap<usize, Unmasking>>,
}

impl Ledger {
    /// Takes note of a reply in the sum that the site has joined last.
    ///
    /// # Panics
    /// When it breaks a promise.
    pub(crate) fn note(&mut self, site: usize, manifest: &Manifest, request: &Request, reply: &Reply, words: &[u32]) {
        if let Reply::Refused { .. } = reply {
            return;
        }
        let said = (reply.to_bytes(), words.to_vec());
        if let Some(before) = self.replies.insert((site, request.digest()), said.clone()) {
            assert!(before == said, "site {site} gives two replies to one request: {reply:?}");
            return;
        }
        let sid = *manifest.sid();
        self.sums.entry(sid).or_insert_with(|| manifest.clone());
        match reply {
            Reply::Advertisement(message) => {
                for key in [message.box_key, message.mask_key] {
                    let first = self.keys.insert(key, (site, sid));
                    assert!(first.is_none(), "site {site} uses the keys of another sum again");
                }
            }
            Reply::Masked(message) => {
                let first = self.words.insert(Digest::from(message.digest), (site, sid));
                assert!(first.is_none(), "site {site} sends words that were sent before");
            }
            Reply::Unmasking(message) => self.unmasked(site, sid, message),
            _ => {}
        }
    }

    fn unmasked(&mut self, site: usize, sid: Sid, message: &Unmasking) {
        let manifest = &self.sums[&sid];
        let round_of = |manifest: &Manifest| (manifest.job().to_owned(), manifest.turn().0);
        let round = round_of(manifest);
        for (other, answers) in &self.unmaskings {
            let same = *other != sid && round_of(&self.sums[other]) == round;
            assert!(!(same && answers.contains_key(&site)), "site {site} helps to unmask two sums of {round:?}");
        }
        let answers = self.unmaskings.entry(sid).or_default();
        answers.insert(site, message.clone());
        let seeds: BTreeSet<NodeId> = answers.values().flat_map(|answer| answer.seeds.keys().copied()).collect();
        let keys: BTreeSet<NodeId> = answers.values().flat_map(|answer| answer.keys.keys().copied()).collect();
        let both: Vec<_> = seeds.intersection(&keys).collect();
        assert!(both.is_empty(), "both shares of sites {both:?} were given away in one sum");
        // Whose update is in a sum that can be unmasked.
        let complete = |(sid, answers): &(&Sid, &BTreeMap<usize, Unmasking>)| {
            round_of(&self.sums[*sid]) == round && answers.len() >= self.sums[*sid].threshold()
        };
        let mut seen = BTreeSet::new();
        for (_, answers) in self.unmaskings.iter().filter(complete) {
            let survivors: BTreeSet<NodeId> =
                answers.values().flat_map(|answer| answer.seeds.keys().copied()).collect();
            for id in survivors {
                assert!(seen.insert(id), "the update of site {id} is in two completed sums of {round:?}");
            }
        }
    }

    /// How many sums could be unmasked.
    pub(crate) fn completed(&self) -> usize {
        self.unmaskings.iter().filter(|(sid, answers)| answers.len() >= self.sums[*sid].threshold()).count()
    }
}
