//! A site: it starts, works, answers and dies.

use super::*;

impl World {
    pub(super) fn start_site(&mut self, i: usize) {
        let (None, Some(_)) = (&self.sites[i].client, &self.roster) else { return };
        let struck = {
            let mut state = self.sites[i].disk.state();
            state.dead = false;
            state.struck
        };
        match self.open_site(i) {
            Ok(client) => {
                self.say(|| format!("site {i} starts"));
                self.sites[i].client = Some(client);
                self.later(1..SECOND, Event::Connect(i));
            }
            Err(error) => {
                let same = self.sites[i].disk.state().struck == struck;
                assert!(!same, "site {i} cannot start: {}", chain(&error));
                self.later(SECOND..20 * SECOND, Event::SiteStarts(i));
            }
        }
    }

    pub(super) fn open_site(&self, i: usize) -> Result<FederatedClient, SiteError> {
        let toy = Toy { seed: i as u32 + 1, habit: Habit::None, step_time: Duration::ZERO };
        let client = FederatedClient::new(self.names[i].clone(), Box::new(toy));
        let mut client = client.on(Box::new(self.sites[i].disk.clone()));
        client.join(&self.out, &id("s"), self.roster.as_ref().unwrap())?;
        Ok(client)
    }

    pub(super) fn kill_site(&mut self, i: usize) {
        self.say(|| format!("site {i} dies"));
        let site = &mut self.sites[i];
        (site.client, site.connected) = (None, false);
        site.life += 1;
        self.later(SECOND / 5..3 * SECOND, Event::Left(i));
        self.later(SECOND / 2..30 * SECOND, Event::SiteStarts(i));
    }

    /// A site's own disk fails it: reported, and asked again after a while.
    pub(super) fn site_trouble(&mut self, i: usize, struck: u64, error: &SiteError) {
        let text = chain(error);
        self.say(|| format!("site {i} has trouble: {text}"));
        let (dead, now_struck) = {
            let state = self.sites[i].disk.state();
            (state.dead, state.struck)
        };
        if now_struck == struck && !dead {
            let rotten = self.sites[i].rotten.take();
            let (path, bytes) = rotten.unwrap_or_else(|| panic!("site {i} has trouble without reason: {text}"));
            assert!(text.contains(&path.display().to_string()), "{text} does not name {}", path.display());
            fs::write(path, bytes).unwrap();
            self.count("rotten files found in use");
        }
        if dead || self.rng.random() { self.kill_site(i) } else { self.cut(i) }
    }

    pub(super) fn work(&mut self, i: usize, order: &Order, truth: Truth) {
        let Order::Task { task, round, global, announcement } = order else { return };
        let struck = self.sites[i].disk.state().struck;
        let Some(client) = &mut self.sites[i].client else { return };
        let progress = &mut |_| ControlFlow::Continue(());
        let hyperparameters = &self.config.hyperparameters;
        let result = match task {
            Task::Training => {
                let trained = client.train_round(global, announcement, *round, hyperparameters, progress);
                trained.map(|(outcome, _)| outcome)
            }
            Task::Evaluation => {
                client.evaluate(global, announcement, *round, hyperparameters, progress).map(|(outcome, _)| outcome)
            }
        };
        let turn = Some((*round, *task == Task::Evaluation));
        if result.is_ok() && self.sites[i].disk.state().dead {
            return self.kill_site(i);
        }
        match result {
            Ok(outcome) => {
                assert!(truth != Truth::Forged, "site {i} follows a forged or old order of round {round}");
                self.sites[i].newest = self.sites[i].newest.max(turn);
                let round = *round;
                let message = match (outcome, task) {
                    (Outcome::Ready { samples_at_most }, Task::Training) => Message::Trained { round, samples_at_most },
                    (Outcome::Ready { .. }, Task::Evaluation) => Message::Evaluated { round },
                    (Outcome::Sealed(sealed), _) => Message::Sealed { round, bytes: sealed.to_bytes() },
                };
                self.send_to_coordinator(i, message);
            }
            Err(error @ SiteError::Vault(_)) => self.site_trouble(i, struck, &error),
            Err(error) => {
                self.say(|| format!("site {i} refuses a task of round {round}: {error}"));
                match truth {
                    Truth::Forged => self.refused(i, truth),
                    _ if turn < self.sites[i].newest => {}
                    _ => panic!("site {i} refuses an honest task: {error}"),
                }
            }
        }
    }

    /// A site's reply, as it leaves.
    pub(crate) fn ask(&mut self, i: usize, request: &Request) -> Option<(Reply, Vec<u32>)> {
        let struck = self.sites[i].disk.state().struck;
        let answer = self.sites[i].client.as_mut()?.answer(request);
        if answer.is_ok() && self.sites[i].disk.state().dead {
            self.kill_site(i);
            return None;
        }
        match answer {
            Ok(answer) => {
                let (reply, words) = answer?;
                if let (Request::Join(manifest), Reply::Advertisement(_)) = (request, &reply) {
                    self.sites[i].joined = Some(Manifest::clone(manifest));
                }
                if let Some(manifest) = &self.sites[i].joined {
                    self.ledger.note(i, manifest, request, &reply, &words);
                }
                Some((reply, words))
            }
            Err(error) => {
                self.site_trouble(i, struck, &error);
                None
            }
        }
    }
}
