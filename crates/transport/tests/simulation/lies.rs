//! A coordinator that lies: it owns its keys and all that sites send it, and may say what it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use federation::secagg::{Coordinator, Manifest, NodeId, Plan, Reply, Request, Survivors, Totals};
use federation::*;
use rand::RngExt;
use transport::Task;

use crate::network::{Order, Truth};
use crate::world::World;

/// Attempts that the honest part of the coordinator does not reach.
const LATE_ATTEMPT: u32 = 1000;

impl World {
    fn coordinator_key(&self) -> SigningKey {
        let text = fs::read_to_string(self.out.join("sessions/s/coordinator.key")).unwrap();
        SigningKey::from_bytes(Digest::try_from(text).unwrap().as_bytes())
    }

    fn is_secure(&self) -> bool {
        let session = self.coordinator.server.as_ref().map(|server| server.session());
        session.is_some_and(|session| session.protection() == Some(Protection::SecureAggregation))
    }

    /// Makes a lie of a task.
    pub(crate) fn twist(&mut self, i: usize, order: Order) -> (Order, Truth) {
        let Order::Task { task, round, global, announcement } = &order else { return (order, Truth::Honest) };
        let (task, round) = (*task, *round);
        let mut other = GlobalModel::clone(global);
        other.parameters[0] += 1.0;
        let newest = self.sites[i].newest;
        let lie = self.rng.random_range(0..4);
        let told = match lie {
            0 => Some((
                Order::Task { task, round, global: Arc::new(other), announcement: announcement.clone() },
                Truth::Forged,
            )),
            1 => {
                let older = |(to, order): &&(usize, Order)| match order {
                    Order::Task { task, round, .. } => *to == i && Some((*round, *task == Task::Evaluation)) < newest,
                    Order::Ask(_) => false,
                };
                self.coordinator.orders.iter().find(older).map(|(_, order)| (order.clone(), Truth::Forged))
            }
            _ if !self.is_secure() => None,
            2 => {
                let mut said: Announcement = serde_json::from_slice(&announcement.bytes).unwrap();
                said.basis.model = other.digest();
                let announcement = SignedAnnouncement::sign(&said, &self.coordinator_key()).unwrap();
                Some((Order::Task { task, round, global: Arc::new(other), announcement }, Truth::Signed))
            }
            _ => {
                let mut said: Announcement = serde_json::from_slice(&announcement.bytes).unwrap();
                said.protection = Protection::Sealed;
                // Whether a session is sealed from the start is its creator's choice: nobody lies then.
                let chosen = newest.is_some() && self.rng.random();
                said.sealed_because = Some(if chosen { SealedBecause::Chosen } else { SealedBecause::FewSites });
                let announcement = SignedAnnouncement::sign(&said, &self.coordinator_key()).unwrap();
                Some((Order::Task { task, round, global: Arc::clone(global), announcement }, Truth::Forged))
            }
        };
        let Some(told) = told else { return (order, Truth::Honest) };
        self.say(|| format!("lie {lie} for site {i}"));
        self.count("lies");
        told
    }

    /// A sum beside the session's own, by which the coordinator tries to learn more than one sum of a round.
    pub(crate) fn attack(&mut self) {
        let Some(server) = &self.coordinator.server else { return };
        let session = server.session();
        if !self.is_secure() || session.phase().is_over() || session.round() == 0 {
            return;
        }
        let record = session.record();
        let roster = session.roster().clone();
        let ids: BTreeMap<NodeId, usize> =
            (0..self.names.len()).filter_map(|i| Some((roster.id_of(&self.names[i])?, i))).collect();
        let purpose = if session.phase() == Phase::Evaluating { Purpose::Evaluation } else { Purpose::Training };
        let bounds = record.rounds.last().into_iter().flat_map(|round| round.sites.values());
        let (dimension, clip, omega_max) = match purpose {
            Purpose::Training => {
                let omega_max = bounds.filter_map(|site| site.samples_at_most).max().unwrap_or(1);
                (session.schema().parameter_count, session.config().hyperparameters.max_update_norm, omega_max)
            }
            Purpose::Evaluation => (1, 1.0, 1),
        };
        let plan = Plan {
            federation: roster.federation().to_owned(),
            job: purpose.job(session.id()),
            round: session.round(),
            attempt: LATE_ATTEMPT,
            roster: roster.digest(),
            participants: ids.keys().copied().collect(),
            dimension,
            clip,
            omega_max,
            basis: session.basis(),
            counters: Totals::COUNTERS,
        };
        let attack = self.rng.random_range(0..4);
        self.say(|| format!("attack {attack}"));
        self.count("attacks");
        match attack {
            0 => {
                let invented = NodeId::try_from(200).unwrap();
                let participants = plan.participants.iter().copied().chain([invented]).collect();
                let manifest = Manifest::new(&Plan { participants, ..plan }).unwrap();
                for i in ids.into_values() {
                    let answer = self.ask(i, &Request::Join(Box::new(manifest.clone())));
                    let refused = answer.is_none_or(|(reply, _)| matches!(reply, Reply::Refused { .. }));
                    assert!(refused, "site {i} joins an invented one");
                }
            }
            1 => {
                let missing = *ids.keys().nth(self.rng.random_range(0..ids.len())).unwrap();
                let participants: BTreeSet<NodeId> = ids.keys().copied().filter(|id| *id != missing).collect();
                if let Ok(manifest) = Manifest::new(&Plan { participants, ..plan }) {
                    let answer = self.ask(ids[&missing], &Request::Join(Box::new(manifest)));
                    let refused = answer.is_none_or(|(reply, _)| matches!(reply, Reply::Refused { .. }));
                    assert!(refused, "a site joins a sum without itself");
                }
            }
            // One sum of all, with two lists of survivors.
            2 => self.sum(plan, &roster, &ids, true),
            // Two sums of different survivors, one after the other.
            _ => {
                let one = *ids.keys().nth(self.rng.random_range(0..ids.len())).unwrap();
                let fewer = plan.participants.iter().copied().filter(|id| *id != one).collect();
                let second = Plan { participants: fewer, attempt: LATE_ATTEMPT + 1, ..plan.clone() };
                self.sum(plan, &roster, &ids, false);
                self.sum(second, &roster, &ids, false);
            }
        }
    }

    /// Asks everybody the same; the replies of those who follow.
    fn ask_all(
        &mut self,
        ids: &BTreeMap<NodeId, usize>,
        request: impl Fn(NodeId) -> Request,
    ) -> Vec<(Reply, Vec<u32>)> {
        ids.iter().filter_map(|(id, i)| self.ask(*i, &request(*id))).collect()
    }

    fn sum(&mut self, plan: Plan, roster: &secagg::Roster, ids: &BTreeMap<NodeId, usize>, split: bool) {
        let Ok(manifest) = Manifest::new(&plan) else { return };
        let Ok(mut coordinator) = Coordinator::open(manifest.clone(), roster) else { return };
        let sid = Digest::from(*manifest.sid());
        let ids: BTreeMap<NodeId, usize> =
            ids.iter().filter(|(id, _)| plan.participants.contains(id)).map(|(id, i)| (*id, *i)).collect();
        for (reply, _) in self.ask_all(&ids, |_| Request::Join(Box::new(manifest.clone()))) {
            if let Reply::Advertisement(message) = reply {
                coordinator.advertised(&message).unwrap();
            }
        }
        let Ok(all) = coordinator.close_advertising() else { return };
        for (reply, _) in self.ask_all(&ids, |_| Request::Share(sid, all.clone())) {
            if let Reply::Shares(message) = reply {
                coordinator.shared(&message).ok();
            }
        }
        let Ok(all) = coordinator.close_sharing() else { return };
        for (reply, words) in self.ask_all(&ids, |_| Request::Mask(sid, all.clone())) {
            if let Reply::Masked(message) = reply {
                coordinator.masked(&message, &words).ok();
            }
        }
        let Ok(survivors) = coordinator.close_masking() else { return };
        // One survivor is told to be one to some, and a drop-out to the others.
        let victim = *survivors.0.keys().nth(self.rng.random_range(0..survivors.0.len())).unwrap();
        let fewer = Survivors(survivors.0.iter().filter(|(id, _)| **id != victim).map(|(id, d)| (*id, *d)).collect());
        let deceived: BTreeSet<NodeId> =
            ids.keys().copied().filter(|id| *id != victim && split && self.rng.random()).collect();
        let list = |id: NodeId| if deceived.contains(&id) { fewer.clone() } else { survivors.clone() };
        let mut agreements = BTreeMap::new();
        for (reply, _) in self.ask_all(&ids, |id| Request::Agree(sid, list(id))) {
            if let Reply::Agreement(message) = reply {
                agreements.insert(message.id, message);
            }
        }
        self.ask_all(&ids, |_| Request::Unmask(sid, agreements.clone()));
        // Whoever has answered is asked about the other list, too.
        let other = |id: NodeId| if deceived.contains(&id) { survivors.clone() } else { fewer.clone() };
        self.ask_all(&ids, |id| Request::Agree(sid, other(id)));
        self.ask_all(&ids, |_| Request::Unmask(sid, agreements.clone()));
    }
}
