//! `/v1/switches/{switch}/capture` and `/trace`: the frames that pass, as they pass.

use super::{At, Failure, Json, Refusal, Shared};
use crate::{
    api::{Backend, Refused, RefusedKind},
    tap::{self, Capture, Format, Tapped, Trace, Wanted},
};
use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use dataplane::tap::Filter;
use model::{CaptureRequest, Name, TraceLine, TraceRequest};

/// As IANA has it, `application/vnd.tcpdump.pcap` is the older format; this is what Wireshark's project asks for.
const PCAPNG: &str = "application/x-pcapng";
/// A JSON document a line.
const LINES: &str = "application/x-ndjson";

/// The frames that pass a switch, or one of its ports, from now on, as pcapng: an interface for each port, the direction as the
/// switch sees it, and why a frame was dropped as its comment. The statistics of an interface say how many were lost, as the
/// client did not read fast enough; traffic does not wait for it. Goes on until the client has enough, or the switch is removed.
#[utoipa::path(post, path = "/v1/switches/{switch}/capture", tag = "observe", operation_id = "capture",
    request_body = CaptureRequest, params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 200, description = "The stream", body = Vec<u8>, content_type = "application/x-pcapng"), Refusal))]
pub(in crate::api) async fn capture(
    State(shared): State<Shared>,
    At(switch): At<Name>,
    Json(asked): Json<CaptureRequest>,
) -> Result<Response, Failure> {
    let request = asked.clone();
    let tapped = listen(&shared, switch.clone(), move || {
        let filter = filter(request.filter.as_deref())?;
        let snaplen = request.snaplen.map_or(usize::MAX, |bytes| bytes as usize);
        Ok(Wanted { port: request.port, dropped_only: request.dropped, filter, sample: 1, snaplen })
    });
    let tapped = tapped.await?;
    let format = Capture::new(switch, *tapped.reader.selection(), asked);
    Ok(stream(&shared, tapped, format, PCAPNG))
}

/// The frames that pass a switch from now on, each as a line of JSON with what became of it. A client that does not read fast
/// enough gets a line that says how many it missed. Goes on until the client has enough, or the switch is removed.
#[utoipa::path(post, path = "/v1/switches/{switch}/trace", tag = "observe", operation_id = "trace",
    request_body = TraceRequest, params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 200, description = "The stream", body = TraceLine, content_type = "application/x-ndjson"), Refusal))]
pub(in crate::api) async fn trace(
    State(shared): State<Shared>,
    At(switch): At<Name>,
    Json(asked): Json<TraceRequest>,
) -> Result<Response, Failure> {
    let tapped = listen(&shared, switch, move || {
        let filter = filter(asked.filter.as_deref())?;
        let sample = asked.sample.map_or(1, u64::from);
        Ok(Wanted {
            port: asked.port,
            dropped_only: asked.dropped,
            filter,
            sample,
            snaplen: tap::TRACE_BYTES,
        })
    });
    let tapped = tapped.await?;
    let format = Trace::new(tapped.reader.selection());
    Ok(stream(&shared, tapped, format, LINES))
}

/// A filter is made on a thread that may block: it may name hosts.
async fn listen(
    shared: &Shared,
    switch: Name,
    wanted: impl FnOnce() -> Result<Wanted, Refused> + Send + 'static,
) -> Result<Tapped, Failure> {
    shared.ask(move |backend: &dyn Backend| backend.listen(switch.as_str(), wanted()?)).await
}

fn filter(text: Option<&str>) -> Result<Option<Filter>, Refused> {
    let compiled = text.map(tap::compile).transpose();
    compiled.map_err(|bad| Refused::new(RefusedKind::Invalid, bad.to_string()))
}

fn stream(shared: &Shared, tapped: Tapped, format: impl Format, kind: &'static str) -> Response {
    ([(CONTENT_TYPE, kind)], tap::body(tapped, format, shared.closing.clone())).into_response()
}
