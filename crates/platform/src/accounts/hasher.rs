//! bcrypt, off the threads that answer requests, and never more at once than there are cores.

use std::sync::Arc;
use std::thread::available_parallelism;

use bcrypt::BcryptError;
use tokio::sync::Semaphore;

use super::{AccountError, MAX_PASSWORD_BYTES};
use crate::store::StorageError;
use crate::store::users::PasswordHash;

/// Makes and checks hashes of passwords.
pub(crate) struct Hasher {
    cost: u32,
    places: Arc<Semaphore>,
    /// A well-formed hash that no password is known for: checking against it takes as long as against a real one.
    nobody: String,
}

impl Hasher {
    pub(crate) fn new(cost: u32) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let nobody = format!("$2b${cost:02}${}{}", "N".repeat(21) + "O", "q".repeat(30) + "C");
        Self { cost, places: Arc::new(Semaphore::new(cores)), nobody }
    }

    /// Hashes a password of at most [`MAX_PASSWORD_BYTES`]; what bcrypt would leave out is refused. (Its own check refuses
    /// 72 bytes, too, because of the zero that ends shorter ones.)
    pub(crate) async fn hash(&self, password: String) -> Result<PasswordHash, AccountError> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(BcryptError::Truncation(password.len()).into());
        }
        let cost = self.cost;
        Ok(PasswordHash(self.work(move || bcrypt::hash(password, cost)).await?))
    }

    /// Whether the password fits. Without a hash it never does, which takes as long.
    pub(crate) async fn verify(&self, password: String, hash: Option<&PasswordHash>) -> Result<bool, AccountError> {
        let fits = password.len() <= MAX_PASSWORD_BYTES;
        // One that is too long fits nowhere; it must not be compared by its beginning.
        let password = if fits { password } else { String::new() };
        let known = hash.is_some() && fits;
        let hash = hash.map_or(&self.nobody, |hash| &hash.0).clone();
        Ok(self.work(move || bcrypt::verify(password, &hash)).await? && known)
    }

    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, BcryptError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let _place = self.places.acquire().await.map_err(|_| StorageError::Task)?;
        Ok(tokio::task::spawn_blocking(job).await.map_err(|_| StorageError::Task)??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_fits_its_password_only() {
        let hasher = Hasher::new(4);
        let hash = hasher.hash("right".to_owned()).await.unwrap();
        assert!(hash.0.starts_with("$2b$04$"));
        assert!(hasher.verify("right".to_owned(), Some(&hash)).await.unwrap());
        assert!(!hasher.verify("wrong".to_owned(), Some(&hash)).await.unwrap());
        assert!(!hasher.verify("right".to_owned(), None).await.unwrap());
        let longest = "x".repeat(72);
        let hash = hasher.hash(longest.clone()).await.unwrap();
        assert!(hasher.verify(longest.clone(), Some(&hash)).await.unwrap());
        assert!(!hasher.verify(longest + "y", Some(&hash)).await.unwrap());
        assert!(hasher.hash("x".repeat(73)).await.is_err());
    }

    /// Nobody learns from the time of an answer whether there is such an account.
    #[tokio::test]
    async fn an_unknown_user_costs_the_same_work() {
        let hasher = Hasher::new(8);
        let hash = hasher.hash("right".to_owned()).await.unwrap();
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..9 {
            for (times, hash) in times.iter_mut().zip([Some(&hash), None]) {
                let start = std::time::Instant::now();
                hasher.verify("wrong".to_owned(), hash).await.unwrap();
                times.push(start.elapsed());
            }
        }
        let [known, unknown] = times.map(|times| times.into_iter().min().unwrap().as_secs_f64());
        // The least of nine shows the work itself; skipping it would make a factor of hundreds.
        assert!((0.4..2.5).contains(&(unknown / known)), "{known} s, {unknown} s");
    }
}
