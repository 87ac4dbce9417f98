//! `/v1/events`: server-sent events (WHATWG HTML, section 9.2).

use super::{Refusal, Shared};
use axum::{
    extract::State,
    response::sse::{self, Sse},
};
use futures_util::{Stream, stream};
use model::Event;
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        watch,
    },
    time,
};

/// A comment is sent after so much silence, so that a connection whose other end is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What happens from now on, as server-sent events: `id` is the event's id, `data` the event as JSON. A client that
/// reads too slowly gets an event named `missed` whose data is the number of events it did not get.
#[utoipa::path(get, path = "/v1/events", tag = "daemon", operation_id = "follow_events", responses(
    (status = 200, description = "The stream, which ends only with the daemon", body = Event,
        content_type = "text/event-stream"), Refusal))]
pub(in crate::api) async fn follow(
    State(shared): State<Shared>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let (events, closing) = (shared.events(), shared.closing.clone());
    // An event now: the client knows by it that it misses nothing from here on.
    let hello = stream::once(async { Ok(sse::Event::default().comment("following")) });
    let following = stream::unfold((events, closing), async |(mut events, mut closing)| {
        let event = next(&mut events, &mut closing).await?;
        Some((Ok(event), (events, closing)))
    });
    Sse::new(futures_util::StreamExt::chain(hello, following))
}

async fn next(events: &mut Receiver<Event>, closing: &mut watch::Receiver<bool>) -> Option<sse::Event> {
    tokio::select! {
        _ = closing.wait_for(|closing| *closing) => None,
        received = time::timeout(KEEP_ALIVE, events.recv()) => match received {
            Err(_) => Some(sse::Event::default().comment("alive")),
            Ok(Ok(event)) => Some(message(&event)),
            Ok(Err(RecvError::Lagged(missed))) => Some(sse::Event::default().event("missed").data(missed.to_string())),
            Ok(Err(RecvError::Closed)) => None,
        },
    }
}

fn message(event: &Event) -> sse::Event {
    let id = event.id.to_string();
    // Events hold names, numbers and addresses only: they always have a JSON form.
    sse::Event::default().id(id).json_data(event).unwrap_or_default()
}
