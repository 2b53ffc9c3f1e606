//! The body of a call, whole, within its bounds of size and time.

use std::future::poll_fn;
use std::pin::Pin;

use http::StatusCode;
use http_body::Body as _;
use purge_api::Problem;

use crate::clock::Clock;
use crate::config::limits::ADMIN_BODY_TIMEOUT;
use crate::listener::request::RequestBody;

/// The body's bytes, at most so many.
///
/// # Errors
/// 413 beyond `bytes_max`, 408 after `ADMIN_BODY_TIMEOUT`, 400 where the body breaks off.
pub(crate) async fn read(body: RequestBody, bytes_max: usize, clock: &Clock) -> Result<Vec<u8>, Problem> {
    match clock.timeout(ADMIN_BODY_TIMEOUT, collect(body, bytes_max)).await {
        Ok(result) => result,
        Err(elapsed) => {
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", format!("the body {elapsed}")))
        }
    }
}

async fn collect(mut body: RequestBody, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut whole = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame =
            frame.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "body", error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            let detail = format!("the body is longer than {bytes_max} bytes; send several calls");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-long", detail));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}
