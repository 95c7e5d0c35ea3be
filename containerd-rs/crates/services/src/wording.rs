//! The statuses that the gRPC library makes by itself, said as Go's library says them: clients look at the code of a
//! message that is too long, and at the text of a method that is not there.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, Uri};
use http_body_util::BodyExt;
use tonic::service::Routes;
use tonic::{Code, Status};

/// `routes`, with the library's own refusals in Go's words.
pub(crate) fn as_go_words_it(routes: Routes) -> Routes {
    let router = routes.into_axum_router().fallback(unknown_service);
    Routes::from(router.layer(axum::middleware::from_fn(reword)))
}

async fn unknown_service(uri: Uri) -> Response {
    let service = uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
    Status::unimplemented(format!("unknown service {service}")).into_http()
}

async fn reword(request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let mut response = next.run(request).await;
    unknown_method(response.headers_mut(), &uri);
    too_long(response.headers_mut());
    response.map(|body| {
        Body::new(body.map_frame(|frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                too_long(&mut trailers);
                http_body::Frame::trailers(trailers)
            }
            Err(frame) => frame,
        }))
    })
}

/// The generated servers refuse a method without a word.
fn unknown_method(headers: &mut HeaderMap, uri: &Uri) {
    if !has_code(headers, Code::Unimplemented) || headers.get("grpc-message").is_some_and(|m| !m.is_empty()) {
        return;
    }
    let mut parts = uri.path().trim_start_matches('/').splitn(2, '/');
    let (service, method) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    put(headers, &Status::unimplemented(format!("unknown method {method} for service {service}")));
}

/// A message over the limit, received or to be sent.
fn too_long(headers: &mut HeaderMap) {
    if !has_code(headers, Code::OutOfRange) {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else { return };
    let Some((direction, sizes)) = status.message().split_once(" message length too large: ") else { return };
    let mut numbers = sizes.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
    let (Some(size), Some(limit)) = (numbers.next(), numbers.next()) else { return };
    let what = match direction {
        "Error, decoded" => "received message",
        "Error, encoded" => "trying to send message",
        _ => return,
    };
    put(headers, &Status::resource_exhausted(format!("grpc: {what} larger than max ({size} vs. {limit})")));
}

fn has_code(headers: &HeaderMap, code: Code) -> bool {
    let number = (code as i32).to_string();
    headers.get("grpc-status").is_some_and(|value| value.as_bytes() == number.as_bytes())
}

fn put(headers: &mut HeaderMap, status: &Status) {
    if let Err(error) = status.add_header(headers) {
        tracing::debug!(error = base::chain(&error), "a status does not fit into headers");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(status: &Status) -> HeaderMap {
        let mut headers = HeaderMap::new();
        put(&mut headers, status);
        headers
    }

    #[test]
    fn messages_over_the_limit_have_go_s_code_and_words() {
        for (was, is) in [
            (
                "Error, decoded message length too large: found 17 bytes, the limit is: 16 bytes",
                "grpc: received message larger than max (17 vs. 16)",
            ),
            (
                "Error, encoded message length too large: found 170 bytes, the limit is: 16 bytes",
                "grpc: trying to send message larger than max (170 vs. 16)",
            ),
        ] {
            let mut headers = headers(&Status::out_of_range(was));
            too_long(&mut headers);
            let status = Status::from_header_map(&headers).unwrap();
            assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, is));
        }
        let ours = "read past object length 20 bytes: out of range";
        let mut kept = headers(&Status::out_of_range(ours));
        too_long(&mut kept);
        assert_eq!(Status::from_header_map(&kept).unwrap().message(), ours);
    }

    #[test]
    fn an_unknown_method_is_named() {
        let uri: Uri = "/a.v1.B/C".parse().unwrap();
        let mut bare = headers(&Status::unimplemented(""));
        unknown_method(&mut bare, &uri);
        assert_eq!(Status::from_header_map(&bare).unwrap().message(), "unknown method C for service a.v1.B");
        let mut told = headers(&Status::unimplemented("no"));
        unknown_method(&mut told, &uri);
        assert_eq!(Status::from_header_map(&told).unwrap().message(), "no");
    }
}
