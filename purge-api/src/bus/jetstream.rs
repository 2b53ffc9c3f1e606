//! The fleet's stream: a `JetStream` stream of NATS that every node gives its purges to and follows.
//!
//! A stream is made where it is missing, replicated as its settings say, and never asked to delete. Records are published with
//! their id as `Nats-Msg-Id`, so that the broker leaves out what it has had within its window; the logs leave out the rest.
//! Reading goes through an ordered consumer, which the library makes anew whenever something is missing in between; where it
//! begins is the node's own cursor, for a start before the oldest message is silently moved (found by experiment), so the
//! bounds of the stream are asked for first.
//!
//! A broker acknowledges before it has synced, and streams have vanished after kills: the identity of a stream is its creation, and
//! another one in its place is a gap. Where that happens while it is followed, the library makes its consumer anew on the other one
//! and begins in its middle; a consumer has a name of its own, so of each that brings something it is asked first whose it is.
//!
//! Nodes say how far they are on a subject of its own, which is not stored ([`JetStream::announce`]).

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, DiscardPolicy, Stream};
use async_nats::jetstream::{self, Message};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::Mutex;

use super::{Batch, BusError, Pending, Position, PurgeBus, Record, Status};

/// A broker and a stream on it.
pub struct JetStream {
    client: Client,
    context: jetstream::Context,
    settings: JetStreamSettings,
    live: Mutex<Option<Live>>,
}

/// Where the stream is, and what it is made with where it is missing.
#[derive(Clone, Debug)]
pub struct JetStreamSettings {
    /// `nats://host:port`, several separated by commas; `tls://` for TLS; with user and password or token if it needs them.
    pub servers: String,
    /// A file of credentials, if it needs them.
    pub credentials: Option<std::path::PathBuf>,
    /// The name of the stream; records are published under `NAME.record`, how far nodes are under `NAME.status`.
    pub stream: String,
    /// On how many brokers it is kept, where it is made.
    pub replicas: usize,
    /// How long it keeps records, where it is made.
    pub kept: Duration,
}

/// A consumer that has come to `next`.
struct Live {
    messages: Ordered,
    log: u128,
    first: u64,
    next: u64,
    /// The consumer that is known to be on `log`.
    consumer: Box<str>,
}

impl JetStream {
    /// Connects, in the background if the broker is away, and again whenever it comes back.
    ///
    /// # Errors
    /// The settings cannot be used: an address or a file of credentials that cannot be read.
    pub async fn connect(node: &str, settings: JetStreamSettings) -> Result<Arc<Self>, BusError> {
        let mut options = ConnectOptions::new()
            .name(format!("tidegate {node}"))
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .reconnect_delay_callback(|attempt| {
                RECONNECT_AFTER * u32::try_from(attempt.clamp(1, RECONNECT_STEPS)).unwrap_or(1)
            });
        if let Some(file) = &settings.credentials {
            options = options.credentials_file(file).await.map_err(|error| {
                BusError(format!("cannot read the credentials in {}: {error}", file.display()))
            })?;
        }
        let servers: Vec<&str> = settings.servers.split(',').map(str::trim).collect();
        let client = options.connect(servers).await.map_err(failed)?;
        let context = jetstream::new(client.clone());
        Ok(Arc::new(Self { client, context, settings, live: Mutex::default() }))
    }

    /// Tells the fleet how far this node is. Lost where the broker is away.
    pub async fn announce(&self, status: &Status) {
        let subject = format!("{}.status", self.settings.stream);
        drop(self.client.publish(subject, Bytes::from(status.to_json())).await);
    }

    /// What other nodes say of themselves, this one's words among them, for as long as it is asked for.
    ///
    /// # Errors
    /// The broker cannot be asked.
    pub async fn statuses(
        &self,
    ) -> Result<impl futures_util::Stream<Item = Status> + Send + use<>, BusError> {
        let subject = format!("{}.status", self.settings.stream);
        let said = self.client.subscribe(subject).await.map_err(failed)?;
        Ok(said.filter_map(|message| std::future::ready(Status::from_json(&message.payload))))
    }

    async fn stream(&self) -> Result<Stream, BusError> {
        let JetStreamSettings { stream, replicas, kept, .. } = &self.settings;
        // Looked up first: a node that may not make streams can follow one.
        if let Ok(found) = self.context.get_stream(stream).await {
            return Ok(found);
        }
        let config = stream::Config {
            name: stream.clone(),
            subjects: vec![format!("{stream}.record")],
            storage: stream::StorageType::File,
            num_replicas: *replicas,
            max_age: *kept,
            max_bytes: STREAM_BYTES_MAX,
            discard: DiscardPolicy::Old,
            duplicate_window: DUPLICATE_WINDOW,
            deny_delete: true,
            ..stream::Config::default()
        };
        self.context.get_or_create_stream(config).await.map_err(failed)
    }

    /// The stream as it is, and a consumer behind `since` if that can be continued.
    async fn open(&self, since: u64) -> Result<(Batch, Option<Live>), BusError> {
        let stream = self.stream().await?;
        let batch = bounds(&stream.get_info().await.map_err(failed)?);
        let Batch { log, first, last, .. } = batch;
        if first > since.saturating_add(1) || since > last {
            return Ok((batch, None));
        }
        let next = since + 1;
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next },
            replay_policy: ReplayPolicy::Instant,
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(failed)?;
        let messages = consumer.messages().await.map_err(failed)?;
        Ok((batch, Some(Live { messages, log, first, next, consumer: Box::default() })))
    }
}

impl PurgeBus for JetStream {
    fn name(&self) -> &str {
        NAME
    }

    fn pull(&self, since: u64, max: usize) -> Pending<'_, Batch> {
        Box::pin(async move {
            // Taken out, so that whoever is cut off here begins anew.
            let mut place = self.live.lock().await;
            let known = place.take().filter(|live| live.next == since + 1);
            let mut live = if let Some(live) = known {
                live
            } else {
                let (batch, live) = self.open(since).await?;
                let Some(live) = live else { return Ok(batch) };
                if batch.last <= since {
                    // Nothing to come yet: that is an answer, too.
                    *place = Some(live);
                    return Ok(batch);
                }
                live
            };
            let mut batch = Batch { log: live.log, first: live.first, last: since, records: Vec::new() };
            while batch.records.len() < max {
                let next = live.messages.next();
                let message =
                    if batch.records.is_empty() { next.await } else { next.now_or_never().flatten() };
                let Some(message) = message else { break };
                let message = message.map_err(failed)?;
                let (number, pending) = {
                    let info = message.info().map_err(|error| BusError(error.to_string()))?;
                    if *live.consumer != *info.consumer {
                        if !batch.records.is_empty() {
                            // The next call finds out.
                            return Ok(batch);
                        }
                        let now = bounds(&self.stream().await?.get_info().await.map_err(failed)?);
                        if now.log != live.log {
                            return Ok(now);
                        }
                        live.consumer = info.consumer.into();
                    }
                    (info.stream_sequence, info.pending)
                };
                batch.last = number + pending;
                let record = record_of(&message);
                if number != live.next || record.is_none() {
                    if batch.records.is_empty() {
                        // What was in between is gone, or is of a kind that is not known here: nobody can tell what it took.
                        batch.first = if record.is_some() { number } else { number + 1 };
                        return Ok(batch);
                    }
                    // Told by the next call, which begins there.
                    return Ok(batch);
                }
                live.next = number + 1;
                batch.records.extend(record.map(|record| (number, record)));
            }
            if batch.records.is_empty() {
                return Err(BusError("the stream has ended".to_owned()));
            }
            *place = Some(live);
            Ok(batch)
        })
    }

    fn give<'a>(&'a self, records: &'a [Record]) -> Pending<'a, Position> {
        Box::pin(async move {
            let stream = self.stream().await?;
            let subject = format!("{}.record", self.settings.stream);
            let mut acks = Vec::with_capacity(records.len());
            for record in records {
                let message = PublishMessage::build()
                    .payload(Bytes::from(record.to_json()))
                    .message_id(format!("{:032x}", record.id));
                acks.push(self.context.send_publish(subject.clone(), message).await.map_err(failed)?);
            }
            let mut sequence = 0;
            for ack in acks {
                sequence = sequence.max(ack.await.map_err(failed)?.sequence);
            }
            let info = stream.get_info().await.map_err(failed)?;
            Ok(Position { log: identity(&info), sequence })
        })
    }
}

/// A stream as it is, without its records.
fn bounds(info: &stream::Info) -> Batch {
    let last = info.state.last_sequence;
    // An empty stream's first is zero, or one above its last.
    let first = if info.state.messages == 0 { last + 1 } else { info.state.first_sequence };
    Batch { log: identity(info), first, last, records: Vec::new() }
}

/// A stream is who it is by when it was made.
fn identity(info: &stream::Info) -> u128 {
    u128::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0)
}

fn record_of(message: &Message) -> Option<Record> {
    Record::from_json(&message.payload).ok()
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` hands it over
fn failed(error: impl std::fmt::Display) -> BusError {
    BusError(format!("the broker: {error}"))
}

/// What the stream is called in cursors.
const NAME: &str = "stream";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Between attempts to reach a broker that is away: a step longer each time.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);
const RECONNECT_STEPS: usize = 20;
/// Of a stream that is made here, at about 300 bytes a record.
const STREAM_BYTES_MAX: i64 = 1 << 30;
/// How long a broker knows the names of records again.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);
