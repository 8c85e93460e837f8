//! HTTP clients for TLS options other than the default.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::registry::TransportId;
use crate::registry::recent::Recent;

/// Maximum number of clients whose connections are kept.
const MAX_CLIENTS: usize = 64;

/// One client per TLS options, so that a client certificate's connections are never used for another object.
///
/// Creating a client reads all system authorities. The table is not locked meanwhile, so only requests for the same
/// client wait for it.
#[derive(Debug)]
pub(super) struct Clients<C>(Mutex<Recent<TransportId, Arc<OnceCell<C>>>>);

impl<C> Default for Clients<C> {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(MAX_CLIENTS)))
    }
}

impl<C: Clone> Clients<C> {
    /// Returns the client of `id`, creating it if absent. The least recently used client is evicted from a full
    /// table.
    pub(super) async fn get<E>(&self, id: TransportId, make: impl Future<Output = Result<C, E>>) -> Result<C, E> {
        let slot = {
            // A poisoned lock is safe to use: each statement leaves the table consistent.
            let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(clients.entry(id, Arc::default).0)
        };
        slot.get_or_try_init(|| make).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;
    use crate::oci::Digest;

    fn id(number: usize) -> TransportId {
        TransportId::Tls(Some(Digest::of(&number.to_le_bytes())))
    }

    fn made(client: &'static str) -> std::future::Ready<Result<&'static str, ()>> {
        std::future::ready(Ok(client))
    }

    #[tokio::test]
    async fn a_client_that_is_being_made_keeps_only_its_own_waiting() {
        let (clients, (done, doing)) = (Clients::default(), tokio::sync::oneshot::channel::<()>());
        let slowly = async {
            let _ = doing.await;
            Ok::<_, ()>("slow")
        };
        let mut slow = Box::pin(clients.get(id(1), slowly));
        let mut same = Box::pin(clients.get(id(1), made("made twice")));
        assert!(poll!(&mut slow).is_pending() && poll!(&mut same).is_pending());
        assert_eq!(clients.get(id(2), made("other")).await, Ok("other"));
        done.send(()).unwrap();
        assert_eq!((slow.await, same.await), (Ok("slow"), Ok("slow")));
        assert_eq!(clients.get(id(3), async { Err(()) }).await, Err(()));
        assert_eq!(clients.get(id(3), made("later")).await, Ok("later"), "a failure is not kept");
    }

    #[tokio::test]
    async fn one_more_than_there_is_room_for_costs_one_and_not_all() {
        let clients = Clients::default();
        for number in 0..=MAX_CLIENTS {
            clients.get(id(number), made("first")).await.unwrap();
        }
        for number in 1..=MAX_CLIENTS {
            assert_eq!(clients.get(id(number), made("again")).await, Ok("first"), "{number}");
        }
        assert_eq!(clients.get(id(0), made("again")).await, Ok("again"));
    }
}
