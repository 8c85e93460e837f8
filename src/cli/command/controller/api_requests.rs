//! Concurrent requests to the API server, shared fairly between namespaces.
//!
//! A thousand new objects of one namespace cause thousands of writes within seconds. In a common queue the status of
//! another namespace's object waited behind all of them (2 s with 1000 objects on two cores); here a free place goes to
//! the namespace that has the fewest requests in progress.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service, ServiceExt};

use crate::permits::Permits;

/// Limits concurrent requests by permits.
#[derive(Clone)]
pub(crate) struct FairLayer(Permits);

impl FairLayer {
    /// Creates a layer with `requests` permits, and `first` more for namespaces without a request in progress.
    pub(crate) fn new(requests: usize, first: usize) -> Self {
        Self(Permits::with_first(requests, first))
    }
}

impl<S> Layer<S> for FairLayer {
    type Service = Fair<S>;

    fn layer(&self, inner: S) -> Fair<S> {
        Fair { permits: self.0.clone(), inner }
    }
}

/// Service of [`FairLayer`].
#[derive(Clone)]
pub(crate) struct Fair<S> {
    permits: Permits,
    inner: S,
}

impl<S, B> Service<Request<B>> for Fair<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // The permit depends on the request, which is not known here.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (seat, inner) = (self.permits.seat(namespace(request.uri().path())), self.inner.clone());
        Box::pin(async move {
            // Released when the response begins: a watch holds no permit while it lasts.
            let _permit = seat.permit().await;
            inner.oneshot(request).await
        })
    }
}

/// Returns the namespace in the path of a request; empty for requests of the whole cluster.
fn namespace(path: &str) -> &str {
    let mut segments = path.split('/');
    segments.find(|segment| *segment == "namespaces").and_then(|_| segments.next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures::poll;
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn the_namespace_of_a_request_is_in_its_path() {
        let rows = [
            ("/api/v1/namespaces/team-a/secrets/x", "team-a"),
            ("/apis/supercargo.dev/v1alpha1/namespaces/team-a/ociartifacts/namespaces/status", "team-a"),
            ("/api/v1/namespaces/team-a", "team-a"),
            ("/api/v1/namespaces", ""),
            ("/apis/supercargo.dev/v1alpha1/ociartifacts", ""),
        ];
        for (path, want) in rows {
            assert_eq!(namespace(path), want, "{path}");
        }
    }

    #[tokio::test]
    async fn many_requests_of_one_namespace_delay_no_other() {
        let answers = Arc::new(Semaphore::new(0));
        let server = Arc::clone(&answers);
        let inner = tower::service_fn(move |_: Request<()>| {
            let server = Arc::clone(&server);
            async move {
                server.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(())
            }
        });
        let service = FairLayer::new(2, 0).layer(inner);
        let send = |namespace: &str| {
            let path = format!("/api/v1/namespaces/{namespace}/configmaps/x");
            Box::pin(service.clone().oneshot(Request::get(path).body(()).unwrap()))
        };
        let mut greedy: Vec<_> = (0..1000).map(|_| send("greedy")).collect();
        for request in &mut greedy {
            assert!(poll!(request).is_pending());
        }
        let mut modest = send("modest");
        assert!(poll!(&mut modest).is_pending());
        answers.add_permits(1);
        assert!(poll!(&mut greedy[0]).is_ready());
        // The released permit is that of `modest`, so it is sent beside the other request in progress.
        assert!(poll!(&mut modest).is_pending());
        answers.add_permits(2);
        assert!(poll!(&mut modest).is_ready());
    }
}
