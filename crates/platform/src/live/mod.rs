//! What happens, as it happens.
//!
//! An event that tells of a change is stored in its transaction ([`crate::store::events`]) and delivered after the commit,
//! in order. Progress is only delivered: who misses it sees the next. Whoever listens and is too slow loses what it has
//! not read, and is told so; it then asks for what it missed by number.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::broadcast;

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
}

impl Live {
    /// Begins to deliver what is stored from now on.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn start(store: Arc<Store>) -> Result<Self, StorageError> {
        let live = Self(Arc::new(Inner { store, deliveries: broadcast::Sender::new(WAITING) }));
        let (_, newest) = live.0.store.read(|db| bounds(db).map_err(StorageError::from)).await?;
        tokio::spawn(live.clone().deliver(newest));
        Ok(live)
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
        loop {
            let Some(events) = self.after_commit(last).await else { continue };
            for event in events {
                last = event.number;
                self.0.deliveries.send(Arc::new(Delivery::Event(event))).ok();
            }
        }
    }

    /// The events after number `last`, when there are some.
    async fn after_commit(&self, last: i64) -> Option<Vec<Event>> {
        let committed = self.0.store.committed();
        let read = self.0.store.read(move |db| all_since(db, last, READ_AT_ONCE).map_err(StorageError::from)).await;
        match read {
            Ok(events) if !events.is_empty() => return Some(events),
            Ok(_) => {}
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "events cannot be read"),
        }
        committed.await;
        None
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
