//! What goes wrong, and its end.

use super::*;

impl World {
    pub(super) fn fault(&mut self) {
        let i = self.rng.random_range(0..self.sites.len());
        match self.rng.random_range(0..14) {
            0..=2 => {
                let (name, disk) = ("the coordinator".to_owned(), self.coordinator.disk.clone());
                self.trouble_ahead(&name, &disk, 40);
            }
            3..=5 => {
                let (name, disk) = (format!("site {i}"), self.sites[i].disk.clone());
                self.trouble_ahead(&name, &disk, 25);
            }
            6 => {
                self.say(|| "the coordinator is killed".into());
                self.count("processes killed");
                self.kill_coordinator();
            }
            7 => {
                self.count("processes killed");
                self.kill_site(i);
            }
            8 => self.cut(i),
            9 => {
                let by = self.rng.random_range(-3600..=3600) * SECOND as i64;
                let by = if self.rng.random() { by } else { by / 60 };
                self.say(|| format!("the coordinator's clock jumps by {by} ms"));
                self.coordinator.offset_ms += by;
                self.count("clock jumps");
            }
            10 => {
                self.sites[i].pace = self.rng.random_range(1..900) * SECOND;
                self.count("slow sites");
            }
            11 => self.rot_coordinator(),
            12 => self.rot_site(i),
            _ if self.lying => self.attack(),
            _ => {}
        }
    }

    pub(super) fn trouble_ahead(&mut self, who: &str, disk: &TroubledDisk, within: u64) {
        let (trouble, what) = [
            (Trouble::Crash, "crashes before or in an operation"),
            (Trouble::CrashAfter, "crashes after an operation"),
            (Trouble::PowerLoss, "losses of power"),
            (Trouble::DiskFull, "full disks"),
            (Trouble::SyncFails, "failed syncs"),
        ][self.rng.random_range(0..5)];
        let at = disk.state().operations + self.rng.random_range(1..=within);
        self.say(|| format!("{who}: {what} ahead"));
        self.count(what);
        disk.state().trouble = Some((at, trouble));
    }

    /// One bit of a file changes: the file, with its content before.
    pub(super) fn rot(&mut self, candidates: &[PathBuf]) -> Option<(PathBuf, Vec<u8>)> {
        let path = candidates[self.rng.random_range(0..candidates.len().max(1))..].first()?.clone();
        let before = fs::read(&path).ok().filter(|bytes| !bytes.is_empty())?;
        let mut bytes = before.clone();
        let at = self.rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << self.rng.random_range(0..8);
        // The other case of a hexadecimal digit says the same.
        if bytes.eq_ignore_ascii_case(&before) {
            return None;
        }
        fs::write(&path, bytes).unwrap();
        self.say(|| format!("{} rots", path.display()));
        self.count("rotten files");
        Some((path, before))
    }

    pub(super) fn rot_coordinator(&mut self) {
        if self.roster.is_none() || self.coordinator.rotten.is_some() || self.coordinator.disk.state().dead {
            return;
        }
        self.kill_coordinator();
        self.coordinator.disk.state().trouble = None;
        let folder = self.out.join("sessions/s");
        let mut candidates = vec![folder.join("session.json"), folder.join("coordinator.key")];
        candidates.extend(files(&folder.join("objects")));
        let Some((path, before)) = self.rot(&candidates) else { return };
        match self.open_coordinator() {
            Ok(server) => {
                let object = path.parent().is_some_and(|parent| parent.ends_with("objects"));
                let model = path.ends_with(server.session().model().to_string());
                assert!(object && !model, "nobody notices that {} has rotted", path.display());
                self.coordinator.rotten = Some((path, before));
            }
            Err(error) => {
                let text = chain(&error);
                assert!(text.contains(&path.display().to_string()), "{text} does not name {}", path.display());
                fs::write(path, before).unwrap();
                self.count("rotten files found at the start");
            }
        }
    }

    pub(super) fn rot_site(&mut self, i: usize) {
        if self.sites[i].client.is_none() || self.sites[i].rotten.is_some() {
            return;
        }
        self.kill_site(i);
        self.sites[i].disk.state().trouble = None;
        let folder = self.out.join("sites").join(self.names[i].as_str());
        let mut candidates = vec![folder.join("identity.key"), folder.join("sessions/s/state")];
        candidates.extend(files(&folder.join("sessions/s/objects")));
        let Some((path, before)) = self.rot(&candidates) else { return };
        match self.open_site(i) {
            Ok(_) => {
                let object = path.parent().is_some_and(|parent| parent.ends_with("objects"));
                assert!(object, "nobody notices that {} has rotted", path.display());
                self.sites[i].rotten = Some((path, before));
            }
            Err(error) => {
                self.say(|| format!("site {i}: {}", chain(&error)));
                fs::write(path, before).unwrap();
                self.count("rotten files found at the start");
            }
        }
    }

    /// Faults are over: disks work, files are as they were, sites are quick.
    pub(super) fn calm(&mut self) {
        self.say(|| "calm".into());
        let disks = self.sites.iter().map(|site| &site.disk).chain([&self.coordinator.disk]);
        disks.for_each(|disk| disk.state().trouble = None);
        let rotten = self.sites.iter_mut().map(|site| &mut site.rotten).chain([&mut self.coordinator.rotten]);
        for (path, bytes) in rotten.filter_map(Option::take) {
            // What is not there any more was not needed.
            if path.exists() {
                fs::write(path, bytes).unwrap();
            }
        }
        self.sites.iter_mut().for_each(|site| site.pace = 20 * SECOND);
    }
}
