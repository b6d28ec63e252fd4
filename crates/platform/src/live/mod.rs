//! What happens, as it happens.
//!
//! An event that tells of a change is stored in its transaction ([`crate::store::events`]) and delivered after the commit,
//! in order. Progress is only delivered: who misses it sees the next. Whoever listens and is too slow loses what it has
//! not read, and is told so; it then asks for what it missed by number.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::store::events::{Audience, Event, all_since, bounds};
use crate::store::{StorageError, Store};

/// Deliveries that a slow listener may be behind.
const WAITING: usize = 1024;
/// Stored events that are read at once.
const READ_AT_ONCE: u32 = 256;

/// Something to hear of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Delivery {
    /// Stored, with its number.
    Event(Event),
    /// Not stored.
    Transient {
        /// Who hears of it.
        audience: Audience,
        /// As an event's.
        kind: String,
        /// As an event's.
        payload: Value,
    },
}

impl Delivery {
    pub(crate) fn audience(&self) -> Audience {
        match self {
            Self::Event(event) => event.audience,
            Self::Transient { audience, .. } => *audience,
        }
    }
}

/// Where everything passes. Clones are the same.
#[derive(Clone)]
pub(crate) struct Live(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    deliveries: broadcast::Sender<Arc<Delivery>>,
    closing: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Live {
    /// Begins to deliver what is stored from now on.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn start(store: Arc<Store>) -> Result<Self, StorageError> {
        let (_, newest) = store.read(|db| bounds(db).map_err(StorageError::from)).await?;
        let deliveries = broadcast::Sender::new(WAITING);
        let live =
            Self(Arc::new(Inner { store, deliveries, closing: watch::Sender::new(false), task: Mutex::default() }));
        *live.task() = Some(tokio::spawn(live.clone().deliver(newest)));
        Ok(live)
    }

    /// Delivers what is left, and lets go of the store.
    pub(crate) async fn close(&self) {
        self.0.closing.send_replace(true);
        let task = self.task().take();
        if let Some(task) = task {
            task.await.ok();
        }
    }

    fn task(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.0.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of something that is not stored.
    pub(crate) fn transient(&self, audience: Audience, kind: &str, payload: Value) {
        // Nobody may be listening.
        self.0.deliveries.send(Arc::new(Delivery::Transient { audience, kind: kind.to_owned(), payload })).ok();
    }

    /// Everything from now on, whoever it is for: the listener asks [`Audience::includes`].
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Delivery>> {
        self.0.deliveries.subscribe()
    }

    async fn deliver(self, mut last: i64) {
        let mut closing = self.0.closing.subscribe();
        loop {
            // From before the reading: whatever is committed after it ends the wait.
            let (committed, closes) = (self.0.store.committed(), *closing.borrow());
            let read = self.0.store.read(move |db| all_since(db, last, READ_AT_ONCE).map_err(StorageError::from)).await;
            let events = read.unwrap_or_else(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "events cannot be read");
                Vec::new()
            });
            let any = !events.is_empty();
            for event in events {
                last = event.number;
                self.0.deliveries.send(Arc::new(Delivery::Event(event))).ok();
            }
            if !any && closes {
                return;
            }
            if !any {
                tokio::select! {
                    () = committed => {}
                    _ = closing.wait_for(|closing| *closing) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Moment;
    use crate::store::events::append;

    #[tokio::test]
    async fn what_is_committed_is_delivered_in_order_and_what_is_not_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path(), Moment(0)).unwrap());
        let live = Live::start(Arc::clone(&store)).await.unwrap();
        let mut heard = live.listen();
        for i in 0..600 {
            let write = store.write(Moment(0), move |db| {
                append(db, Moment(0), Audience::Everyone, "count", &json!(i))?;
                if i % 3 == 2 { Err(StorageError::Task) } else { Ok::<_, StorageError>(()) }
            });
            assert_eq!(write.await.is_ok(), i % 3 != 2);
        }
        for i in (0..600).filter(|i| i % 3 != 2) {
            let delivery = heard.recv().await.unwrap();
            let Delivery::Event(event) = &*delivery else { panic!("{delivery:?}") };
            assert_eq!(event.payload, json!(i));
        }
        live.transient(Audience::Server, "progress", json!(1));
        assert_eq!(heard.recv().await.unwrap().audience(), Audience::Server);
    }
}
