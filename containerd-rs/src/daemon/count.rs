//! Counts gRPC calls: begun, and answered by code.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::Code;
use tower::Service;

/// A service whose calls are counted. Nothing about a call is changed.
#[derive(Clone)]
pub(super) struct Counting<S> {
    inner: S,
    metrics: Arc<metrics::Metrics>,
}

impl<S> Counting<S> {
    pub(super) fn new(inner: S, metrics: Arc<metrics::Metrics>) -> Self {
        Self { inner, metrics }
    }
}

impl<S, B, A> Service<Request<B>> for Counting<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let metrics = Arc::clone(&self.metrics);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (service, method) = path.split_once('/').unwrap_or((&path, ""));
            metrics.call_started(service, method);
            let answer = answer.await?;
            // A call that fails before its first message has its code here; one that got so far is counted as it began.
            let status = answer.headers().get("grpc-status").and_then(|v| v.to_str().ok()?.parse().ok());
            metrics.call_handled(
                service,
                method,
                &format!("{:?}", Code::from_i32(status.unwrap_or_default())),
            );
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_are_counted_by_method_and_code() {
        let metrics = Arc::new(metrics::Metrics::new("v", "r"));
        let inner = tower::service_fn(async |request: Request<()>| {
            let mut answer = Response::new(());
            if request.uri().path().ends_with("Bad") {
                answer.headers_mut().insert("grpc-status", http::HeaderValue::from_static("5"));
            }
            Ok::<_, std::convert::Infallible>(answer)
        });
        let mut counting = Counting::new(inner, Arc::clone(&metrics));
        for path in ["/a.B/Good", "/a.B/Bad"] {
            counting.call(Request::builder().uri(path).body(()).unwrap()).await.unwrap();
        }
        let text = metrics.encode();
        assert!(
            text.contains(
                "grpc_server_handled_total{grpc_service=\"a.B\",grpc_method=\"Good\",grpc_code=\"Ok\"} 1"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "grpc_server_handled_total{grpc_service=\"a.B\",grpc_method=\"Bad\",grpc_code=\"NotFound\"} 1"
            ),
            "{text}"
        );
    }
}
