//! Every bound in the node, with its unit. A queue, buffer, table, retry or timeout that has no line here is a bug.
//!
//! Those an operator may want to move are settings (`[limits]`, per listener, per pool) whose defaults are taken
//! from here; the rest are fixed because moving them only breaks something.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What a client connection and request may cost. Defaults of the `[limits]` settings.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Request line and header block together, bytes; beyond it 431.
    pub head_bytes_max: usize,
    /// Header fields in a request; beyond it 431.
    pub fields_max: usize,
    /// Path and query, bytes; beyond it 414.
    pub target_bytes_max: usize,
    /// Request body, bytes; beyond it 413.
    pub request_body_bytes_max: u64,
    /// From the first byte of a head (or the accept) to its end.
    pub head_timeout: Duration,
    /// Between requests on a kept connection.
    pub idle_timeout: Duration,
    /// A request body must bring at least this many bytes in every `body_rate_window`.
    pub body_rate_bytes_min: u64,
    /// The window in which [`Limits::body_rate_bytes_min`] is counted.
    pub body_rate_window: Duration,
    /// A client that takes no byte of a pending answer for this long is cut; over HTTP/2 after half of it, if it never opened the
    /// stream's window.
    pub send_stall_timeout: Duration,
    /// One request, from head to the last byte of the answer.
    pub total_timeout: Duration,
    /// TLS handshake, both halves.
    pub handshake_timeout: Duration,
    /// Handshakes under way in the process; further connections wait in the accept queue.
    pub handshakes_max: usize,
    /// Client connections of the process; beyond it the oldest idle one goes, else the new one is refused.
    pub connections_max: usize,
    /// Requests on one connection, then it is closed politely.
    pub requests_per_connection_max: u64,
    /// How long a drain may take before what is left is cut.
    pub drain_timeout: Duration,
    /// How long a new process that is to take over may take to read its settings, and again to open the store.
    pub upgrade_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 * KIB,
            fields_max: 100,
            target_bytes_max: 8 * KIB,
            request_body_bytes_max: 100 * MIB as u64,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            body_rate_bytes_min: 1024,
            body_rate_window: Duration::from_secs(10),
            send_stall_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_hours(1),
            handshake_timeout: Duration::from_secs(5),
            handshakes_max: 512,
            connections_max: 20_000,
            requests_per_connection_max: 1_000_000,
            drain_timeout: Duration::from_secs(30),
            upgrade_timeout: Duration::from_secs(30),
        }
    }
}

/// One kibibyte.
pub const KIB: usize = 1024;
/// One mebibyte.
pub const MIB: usize = 1024 * KIB;

/// Request bytes read and dropped after an early answer before the connection is closed instead.
pub const DRAIN_BYTES_MAX: u64 = 64 * KIB as u64;
/// Time given to that draining.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one chunk-size line with its extensions, in requests and origin responses.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of a trailer section.
pub const TRAILER_BYTES_MAX: usize = 8 * KIB;
/// Fields of a trailer section that are passed on; a longer one is dropped.
pub const TRAILER_FIELDS_MAX: usize = 64;
/// Read buffer a connection starts with, bytes.
pub const READ_BUFFER_BYTES: usize = 8 * KIB;
/// Bytes of a request body asked of the socket at once.
pub const BODY_READ_BYTES: usize = 16 * KIB;
/// Pieces of a request body that are read ahead of whoever pulls it.
pub const BODY_PIECES_MAX: usize = 4;
/// Pipelined answers are gathered up to this many bytes before they are written, and no further request is parsed.
pub const GATHER_BYTES_MAX: usize = 64 * KIB;
/// Bodies up to this many bytes are copied behind their head into one write; larger ones are written vectored.
pub const COPY_BODY_BYTES_MAX: usize = 4 * KIB;
/// Bytes of a stored body that are lent to a socket at once; the size of a worker's pipe.
pub const LENT_BYTES_MAX: usize = 256 * KIB;
/// Bytes of a file that the system is asked to send at once: between two calls the others on the worker have their turn.
pub const SENT_FILE_BYTES_MAX: usize = 256 * KIB;
/// Interim (1xx) responses passed on for one request; further ones are dropped.
pub const INTERIM_MAX: usize = 8;
/// Ranges of one request that are answered one by one; beyond it the whole representation is sent. FAULTS C14.
pub const RANGES_MAX: usize = 16;
/// How often a worker looks for connections past their deadline.
pub const DEADLINE_TICK: Duration = Duration::from_millis(250);
/// Nodes a request may have crossed (`CDN-Loop` members) before it is refused with 508.
pub const HOPS_MAX: usize = 16;
/// Bytes of a body in flight between origin and clients when it is streamed through without being kept.
pub const STREAM_WINDOW_BYTES: usize = MIB;
/// How long a fill waits for the disk to take a chunk before it goes on without it.
pub const DISK_PATIENCE: Duration = Duration::from_secs(2);
/// Longest body that is encoded, bytes.
pub const ENCODE_BODY_BYTES_MAX: u64 = 8 * MIB as u64;
/// Bodies from so many bytes on are encoded where the settings do not say: a shorter one gains nothing worth a head.
pub const ENCODE_BYTES_MIN: u64 = 256;
/// How hard bodies may be compressed, on brotli's scale.
pub const ENCODE_LEVELS: std::ops::RangeInclusive<u64> = 1..=11;
/// How hard at first, where the settings do not say.
pub const ENCODE_LEVEL_FAST: u8 = 4;
/// How hard the second time, where the settings do not say.
pub const ENCODE_LEVEL_BEST: u8 = 11;
/// What is still asked for so long after it was encoded is compressed harder.
pub const ENCODE_HARDER_AFTER: Duration = Duration::from_secs(10);
/// Longest body that is compressed harder, bytes: beyond it time and memory for that grow faster than what it brings.
pub const ENCODE_HARDER_BYTES_MAX: u64 = MIB as u64;
/// A harder one that the queue has no room for is tried again after so long.
pub const ENCODE_RETRY_AFTER: Duration = Duration::from_mins(1);
/// Bodies that wait to be encoded; further ones go as they are, and are asked for again by their next request.
pub const ENCODE_QUEUE_MAX: usize = 1024;
/// Bytes of all of them.
pub const ENCODE_QUEUE_BYTES_MAX: u64 = 64 * MIB as u64;
/// Bytes that are compressed at once: between two pieces an encoder looks whether the node ends.
pub const ENCODE_PIECE_BYTES: usize = 64 * KIB;
/// An encoded body that is not at least so many percent shorter is not kept.
pub const ENCODE_GAIN_PERCENT_MIN: u64 = 5;
/// Responses that are encoded as they go at once, a worker; further ones go as they are. Each takes at most a MiB.
pub const ENCODE_PASSING_MAX: usize = 64;
/// How hard at most, on brotli's scale: whoever asked waits for it.
pub const ENCODE_PASSING_LEVEL_MAX: u8 = 3;
/// Bytes of such a response that are compressed at once: a fraction of a millisecond. What is here whole and no longer is encoded
/// whole, with a length.
pub const ENCODE_PASSING_PIECE_BYTES: usize = 16 * KIB;
/// A turn of a task compresses no more than so many bytes for each step that the runtime lets it make (128).
pub const ENCODE_PASSING_STEP_BYTES: usize = KIB;
/// Encoded bytes that are gathered while the origin does not pause.
pub const ENCODE_PASSING_OUT_BYTES: usize = 8 * KIB;
/// The window of such a response, as a power of two.
pub const ENCODE_PASSING_WINDOW_BITS: u32 = 17;
/// HTTP/2 streams open at once on one client connection.
pub const H2_STREAMS_MAX: u32 = 100;
/// HTTP/2 header list, bytes, as RFC 9113 §6.5.2 counts it.
pub const H2_HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Memory that one HTTP/2 connection may hold for the heads of requests under way, by the costs below; beyond it the stream is
/// refused.
/// A hundred requests of a browser, with 25 fields of 2 KiB, fit; a hundred of as many fields as are allowed do not.
/// FAULTS B16.
pub const H2_HELD_HEAD_BYTES_MAX: usize = 2560 * KIB;
/// What a field of such a head costs beside its bytes (measured with a hundred one-byte fields: up to 600).
pub const H2_FIELD_COST_BYTES: usize = 512;
/// How often its bytes are held: as received, as forwarded, and in a write buffer that grows by doubling.
pub const H2_HEAD_COPIES: usize = 4;
/// Response head of an origin, bytes, interim responses not counted; beyond it 502.
pub const ORIGIN_HEAD_BYTES_MAX: usize = 64 * KIB;
/// The same as HTTP/2 counts it, 32 bytes a field more: what is beyond is not decoded.
pub const ORIGIN_H2_HEAD_BYTES_MAX: u32 = 128 * 1024;
/// What an origin may send ahead on one stream, bytes. A connection holds as much for each of its streams at most.
pub const ORIGIN_H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// What of a request's body is handed over ahead of the socket, bytes a stream.
pub const ORIGIN_H2_SEND_BYTES_MAX: usize = 64 * KIB;
/// A connection of HTTP/2 on which requests wait and nothing comes for so long is asked whether it lives.
pub const ORIGIN_H2_PING_AFTER: Duration = Duration::from_secs(10);
/// One that says nothing for so long after that is dead.
pub const ORIGIN_H2_PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Header fields in one response head of an origin; beyond it 502.
pub const ORIGIN_FIELDS_MAX: usize = 256;
/// Interim (1xx) responses an origin may send before its answer; beyond it 502. FAULTS S15.
pub const ORIGIN_INTERIM_MAX: usize = 32;
/// Origins of a pool: each is looked at for each request.
pub const POOL_ORIGINS_MAX: usize = 256;
/// An origin that was asked so long ago and has sent no head since is passed over while another talks.
pub const ORIGIN_SILENT_AFTER: Duration = Duration::from_secs(1);
/// The share of an origin that comes back, at first, where its pool has a `slow_start`; percent.
pub const SLOW_START_PERCENT_MIN: u64 = 10;
/// In which time a moving average of `balance = "ewma"` comes down from a peak by two thirds.
pub const EWMA_WINDOW: Duration = Duration::from_secs(10);
/// Origins whose expected times are not farther apart than this are asked by their weights; percent.
pub const EWMA_TIE_PERCENT: u32 = 20;
/// Rounds of its share that an origin passed over for being slow may catch up on when it no longer is.
pub const EWMA_CREDIT_ROUNDS: i64 = 4;
/// With `balance = "uri-hash"` an origin with more under way than this share of its own, in percent …
pub const HASH_LOAD_PERCENT: u128 = 125;
/// … and so many more leaves further requests to the next of their order.
pub const HASH_LOAD_SLACK: u128 = 4;
/// Origins asked for one request, the first included.
pub const ORIGIN_ATTEMPTS_MAX: usize = 3;
/// Requests that reached an origin and may be repeated at another, in percent of all requests to the pool. FAULTS F3.
pub const ORIGIN_RETRY_PERCENT: u32 = 10;
/// Such repetitions that a pool may save up: what hangs at an origin that falls silent.
pub const ORIGIN_RETRY_BURST: u32 = 100;
/// Those that it has before its first request.
pub const ORIGIN_RETRIES_AT_START: u32 = 10;
/// From a request to another one on top of it, where its origin has been silent all the while.
pub const ORIGIN_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer that are held back until it is whole, where the last request to its origin failed.
pub const HELD_BYTES_MAX: usize = 64 * KIB;
/// How often a request that could not be asked of another origin for want of one, or of repeats, looks again.
pub const HEDGE_AGAIN: Duration = Duration::from_millis(250);
/// Answers that a pool must have seen before it knows what is slow.
pub const HEDGE_SAMPLES_MIN: u64 = 100;
/// In which time the requests that fail at an origin are counted …
pub const EJECT_WINDOW: Duration = Duration::from_secs(10);
/// … and how many there must be before their share says something.
pub const EJECT_SAMPLES_MIN: u32 = 20;
/// Between two checks of an origin's health. The `HEALTH_…` are defaults of a pool's `health`.
pub const HEALTH_EVERY: Duration = Duration::from_secs(5);
/// How long one may take.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Failed ones in a row after which the origin is left out.
pub const HEALTH_UNHEALTHY_AFTER: u32 = 3;
/// Good ones in a row after which it is asked again.
pub const HEALTH_HEALTHY_AFTER: u32 = 2;
/// Checks of one pool that run at once.
pub const HEALTH_CHECKS_MAX: usize = 16;
/// Bytes of an answer's body in which a check looks for its text.
pub const HEALTH_BODY_BYTES_MAX: usize = 64 * KIB;
/// An ejection lasts at most this many times `eject_for`.
pub const EJECT_FACTOR_MAX: u32 = 10;
/// Addresses of one origin that are tried.
pub const ORIGIN_ADDRESSES_MAX: usize = 16;
/// Resolved addresses are kept at least this long, whatever their TTL says.
pub const DNS_TTL_MIN: Duration = Duration::from_secs(1);
/// And at most this long.
pub const DNS_TTL_MAX: Duration = Duration::from_hours(1);
/// After a failed resolution this long passes before it is tried again; addresses known before are used meanwhile.
pub const DNS_FAILURE_HOLD: Duration = Duration::from_secs(2);
/// Bytes read from an origin at once.
pub const ORIGIN_READ_BYTES: usize = 64 * KIB;
/// Memory that a worker keeps to render requests to origins in, bytes; a larger one is given back.
pub const ORIGIN_RENDER_BYTES_KEPT: usize = 16 * KIB;
/// Connections that the kernel may hold for us before we take them, a listener and worker.
pub const BACKLOG: i32 = 8192;
/// Pause after the system refused a connection for lack of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// From the first change of a certificate file to reading it again: certificate and key come one after the other.
pub const CERTIFICATE_SETTLE: Duration = Duration::from_millis(500);
/// From the first change beside a geo database to reading it: whoever copies instead of renaming may still be writing.
pub const DATABASE_SETTLE: Duration = Duration::from_millis(500);
/// The longest that `upgrade_timeout` may be: purges wait as long.
pub const UPGRADE_TIMEOUT_MAX: Duration = Duration::from_mins(2);
/// How long a client command waits for an upgrade.
pub const UPGRADE_CLIENT_TIMEOUT: Duration = Duration::from_mins(6);
/// How long a new process waits for the next word of the one that it takes over from: that one gives it up before.
pub const HANDOVER_PATIENCE: Duration = Duration::from_mins(5);
/// One write to the other process.
pub const HANDOVER_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one message between the two.
pub const HANDOVER_MESSAGE_BYTES_MAX: usize = 16 * MIB;
/// Listening sockets of a service manager that are taken.
pub const INHERITED_SOCKETS_MAX: usize = 1024;
/// Listening sockets that are handed over.
pub const HANDOVER_SOCKETS_MAX: usize = 16 * KIB;
/// Keys that wait to be told to the other process; beyond it they count as everything.
pub const HANDOVER_CHANGES_MAX: usize = 64 * KIB;
/// How long a purge waits for the older process to hear of it before that is ended.
pub const HANDOVER_PURGE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a new process that has failed may take to be gone.
pub const HANDOVER_REAP: Duration = Duration::from_secs(5);
/// How long a process that another has succeeded waits for requests on connections that are idle, to tell them to go by an answer.
pub const IDLE_GRACE: Duration = Duration::from_secs(5);
/// A block of access log lines is handed to the writer when it holds this many bytes.
pub const LOG_BLOCK_BYTES: usize = 64 * KIB;
/// Blocks that may wait for the access log's writer; beyond it blocks are dropped and their lines counted.
pub const LOG_QUEUE_BLOCKS: usize = 128;
/// Bytes of a path in an access log line; the rest is cut.
pub const LOG_PATH_BYTES_MAX: usize = 8 * KIB;
/// Bytes of any other client-chosen value in an access log line; the rest is cut.
pub const LOG_VALUE_BYTES_MAX: usize = KIB;
/// Fields of a log line in words of one's own, and texts between them.
pub const LOG_VARIABLES_MAX: usize = 128;
/// How long a receiver of the log may take to be reached, or to take a block; the lines of a longer one are dropped and counted.
pub const LOG_RECEIVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a receiver of the log that failed is left alone; lines until then are dropped and counted.
pub const LOG_RECEIVER_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of a request's name that a trusted proxy gave it; a longer one does not count.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Bytes of `tracestate` that are passed on (W3C Trace Context §3.3.1.5 asks for 512 at least); a longer one is left out.
pub const TRACESTATE_BYTES_MAX: usize = 1024;
/// How long an access log line may lie in its worker's block.
pub const LOG_FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How long opening the access log may take.
pub const LOG_OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Who may watch the access log live at once.
pub const LOG_TAPS_MAX: usize = 16;
/// Blocks of lines that may wait for one of them; beyond it they are dropped and their lines counted.
pub const LOG_TAP_BLOCKS: usize = 256;
/// Hits that all workers together show them in a second, once there are more: some at random, each standing for several.
pub const WATCHED_HITS_A_SECOND: u32 = 2_000;
/// All other requests that they are shown in a second; likewise.
pub const WATCHED_OTHERS_A_SECOND: u32 = 2_000;
/// Lines that are looked at for one of them in a second; beyond it they are passed over and counted. Reached in the first second of a
/// flood only.
pub const LOG_TAP_LINES_A_SECOND: u64 = 20_000;
/// Lines that are sent to one of them in a second; likewise.
pub const LOG_TAP_SENT_A_SECOND: u64 = 2_000;
/// Requests that ended in a server's error and are remembered.
pub const RECENT_ERRORS_MAX: usize = 100;
/// Bytes of their lines, together.
pub const RECENT_ERRORS_BYTES: usize = 256 * KIB;
/// Of them all workers together keep so many a second.
pub const RECENT_ERRORS_A_SECOND: u32 = 50;
/// Names that are counted to find those that are asked for most: URLs by each measure, and tags.
pub const BOARD_NAMES_MAX: usize = 512;
/// Bytes of one of them; the rest is cut.
pub const BOARD_NAME_BYTES_MAX: usize = 512;
/// So many of them are told.
pub const BOARD_SHOWN: usize = 40;
/// Lines in a second for which the tags of what is stored are looked up.
pub const BOARD_TAG_LOOKUPS: usize = 200;
/// After this time half of what was counted has faded.
pub const BOARD_HALF_LIFE: Duration = Duration::from_mins(1);
/// Seconds that the node remembers what happened in.
pub const HISTORY_SECONDS: usize = 600;
/// Who may be told events at once; each costs the node some text a second.
pub const STREAMS_MAX: usize = 64;
/// How often who watches is told the counters.
pub const STREAM_TICK: Duration = Duration::from_secs(1);
/// Distinct reasons that one worker counts; further ones are counted together.
pub const METRIC_REASONS_MAX: usize = 64;
/// Body of a purge call, bytes: ten thousand URLs of 400 bytes.
pub const PURGE_BODY_BYTES_MAX: usize = 4 * MIB;
/// Body of a call that upgrades, bytes.
pub const UPGRADE_BODY_BYTES_MAX: usize = 8 * KIB;
/// Body of a call that moves shares, bytes.
pub const STEER_BODY_BYTES_MAX: usize = 64 * KIB;
/// Selectors of a purge that a line of the operator's log names; the rest are counted.
pub const AUDIT_SELECTORS_MAX: usize = 3;
/// Body of a deploy, bytes: two hundred thousand files.
pub const DEPLOY_BODY_BYTES_MAX: usize = 16 * MIB;
/// Bodies of admin calls that are held at once; further ones wait.
pub const ADMIN_BODIES_MAX: usize = 8;
/// As how many of them a deploy counts.
pub const DEPLOY_BODIES: u32 = 4;
/// Time given to an admin call's body.
pub const ADMIN_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Tokens in a token file.
pub const TOKENS_MAX: usize = 1000;
/// Bytes of a token file.
pub const TOKEN_FILE_BYTES_MAX: u64 = MIB as u64;
/// Connections to each origin of the demo site at once; further ones wait.
pub const DEMO_CONNECTIONS_MAX: usize = 256;
/// Memory of the cache where the settings do not say, bytes.
pub const CACHE_MEMORY_BYTES: u64 = 256 * MIB as u64;
/// Largest response kept where the settings do not say, bytes; memory and disk may keep less.
pub const OBJECT_BYTES_MAX: u64 = 10 * 1024 * MIB as u64;
/// Where the admin listener is if the settings do not say: this machine only.
pub const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
/// Worker threads at most.
pub const WORKERS_MAX: usize = 1024;
/// Bytes of a route's regular expression as written …
pub const REGEX_TEXT_BYTES_MAX: usize = 1024;
/// … and compiled.
pub const REGEX_BYTES_MAX: usize = 256 * KIB;
/// Bytes of the target of a redirect or rewrite as written.
pub const TARGET_TEMPLATE_BYTES_MAX: usize = 2 * KIB;
/// Variables in one text of the settings: a client's target is repeated no oftener.
pub const VARIABLES_MAX: usize = 16;
/// Bytes of a `Location`; beyond it 414.
pub const LOCATION_BYTES_MAX: usize = 16 * KIB;
/// Bytes of a target that is written anew; beyond it 414.
pub const REWRITTEN_BYTES_MAX: usize = 16 * KIB;
/// Redirects of a site.
pub const REDIRECTS_MAX: usize = 100_000;
/// Bytes of a page that settings name; it lies in memory.
pub const PAGE_BYTES_MAX: u64 = MIB as u64;
/// Fields and cookies in the key of a route beside the URL.
pub const KEY_PARTS_MAX: usize = 16;
/// Conditions in a route's `match`.
pub const CONDITIONS_MAX: usize = 64;
/// Fields that a route's `request_headers` or `response_headers` may set, add and remove together.
pub const HEADER_RULES_MAX: usize = 64;
/// Bytes of one of their values as written.
pub const HEADER_RULE_BYTES_MAX: usize = 4 * KIB;
/// Connections to one origin. The `POOL_…` are defaults of a pool's settings.
pub const POOL_CONNECTIONS_MAX: usize = 256;
/// Requests at once on one connection of HTTP/2 to an origin; it may say less.
pub const POOL_STREAMS_MAX: usize = 100;
/// Requests that an origin of a pool with `concurrency = "adaptive"` may have at once before anything is known of it.
pub const ADAPTIVE_START: u32 = 32;
/// The least that it may have, however slow it is.
pub const CONCURRENCY_MIN: u32 = 4;
/// Answers over which its times are averaged.
pub const ADAPTIVE_SAMPLES: f64 = 32.0;
/// It has too much when answers take so many times as long as with little …
pub const ADAPTIVE_SLOWER: f64 = 2.0;
/// … and so much more, microseconds: what a network adds says nothing.
pub const ADAPTIVE_SLACK_MICROS: f64 = 2_000.0;
/// How long a request waits for one of them.
pub const POOL_QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that wait so at once.
pub const POOL_QUEUE_MAX: usize = 1024;
/// TCP and TLS to an origin together.
pub const POOL_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From a request to the head of its response.
pub const POOL_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two pieces of a response's body.
pub const POOL_BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections older than this are not reused; most origins keep theirs for a minute or more.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Connections of one pool that carry another protocol at once.
pub const POOL_TUNNELS_MAX: usize = 10_000;
/// Such a connection on which nothing moves is ended after this time; who keeps one open sends a ping every minute.
pub const POOL_TUNNEL_TIMEOUT: Duration = Duration::from_mins(10);
/// Bytes of a tunnel that are under way in one direction.
pub const TUNNEL_READ_BYTES: usize = 16 * KIB;
/// How long tunnels go on once the node drains.
pub const TUNNEL_DRAIN: Duration = Duration::from_secs(10);
/// How long what only memory has may be written to disk: at least, at the end, where the drain's time is up by then; at most, before
/// another process takes the disk over.
pub const OWED_WRITE: Duration = Duration::from_secs(5);
/// Bytes of an `Upgrade` field that is looked at.
pub const UPGRADE_BYTES_MAX: usize = 256;
/// Consecutive failures after which an origin is left out.
pub const POOL_EJECT_AFTER: u32 = 5;
/// The share of its requests that must fail for an origin to be left out although some succeed, percent.
pub const POOL_EJECT_FAILURE_PERCENT: u32 = 50;
/// How long it is left out the first time.
pub const POOL_EJECT_FOR: Duration = Duration::from_secs(10);
/// Bytes of a file of networks.
pub const ACCESS_FILE_BYTES_MAX: u64 = 64 * MIB as u64;
/// Networks in one.
pub const ACCESS_NETWORKS_MAX: usize = 1_000_000;
/// Rates of one route.
pub const ACCESS_RATES_MAX: usize = 8;
/// How much of a body is held until it has been looked into, where the settings do not say, bytes.
pub const INSPECT_BODY_BYTES: u64 = 64 * KIB as u64;
/// And what they may say.
pub const INSPECT_BODY_RANGE: std::ops::RangeInclusive<u64> = 0..=MIB as u64;
/// Bytes of bodies that are held for it at once, of all requests together; beyond it there is no room to look into one.
pub const INSPECT_HELD_BYTES_MAX: usize = 64 * MIB;
/// Parameters of a query or body that are looked into.
pub const INSPECT_PARAMETERS_MAX: usize = 512;
/// How often a value that is still encoded is decoded again.
pub const INSPECT_DECODINGS_MAX: usize = 2;
/// Longer queries, and bodies, are looked into on a thread of their own: a worker is never held up for longer than this many take.
pub const INSPECT_AT_ONCE_BYTES_MAX: usize = 2 * KIB;
/// Requests that the engine that is built in looks into at once on threads of their own.
pub const INSPECTIONS_MAX: usize = 2;
/// Requests that wait for that; further ones count as those that `[modsecurity] queue_max` leaves out.
pub const INSPECTIONS_WAITING_MAX: usize = 256;
/// Bytes of what is told of a finding in the access log.
pub const INSPECT_TOLD_BYTES_MAX: usize = 200;
/// Rules of which that tells.
pub const INSPECT_RULES_TOLD_MAX: usize = 8;
/// `concurrency` of `[modsecurity]` where the settings do not say.
pub const MODSECURITY_CONCURRENCY: u32 = 4;
/// `queue_max` of `[modsecurity]` where the settings do not say.
pub const MODSECURITY_QUEUE_MAX: u32 = 256;
/// Files of rules of `[modsecurity]`.
pub const MODSECURITY_FILES_MAX: usize = 1024;
/// Memory of a rate where the settings do not say, bytes.
pub const ACCESS_RATE_MEMORY_BYTES: u64 = 8 * MIB as u64;
/// What it may be.
pub const ACCESS_RATE_MEMORY_RANGE: std::ops::RangeInclusive<u64> = 64 * KIB as u64..=1024 * MIB as u64;
/// Bytes of the name of what is counted.
pub const ACCESS_COUNT_NAME_BYTES_MAX: usize = 200;
/// Keys of one route that URLs may be signed with.
pub const ACCESS_KEYS_MAX: usize = 8;
/// Bytes of such a key: enough not to be guessed, and at most.
pub const ACCESS_KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;
/// Bytes of a file of users.
pub const ACCESS_USERS_BYTES_MAX: u64 = 16 * MIB as u64;
/// Users in one.
pub const ACCESS_USERS_MAX: usize = 100_000;
/// Bytes of the realm of basic authentication.
pub const ACCESS_REALM_BYTES_MAX: usize = 128;
/// Bytes of an `Authorization` that is looked at.
pub const ACCESS_CREDENTIALS_BYTES_MAX: usize = KIB;
/// Field values whose verification is remembered, for each file of users; 48 bytes each.
pub const ACCESS_CREDENTIALS_KNOWN_MAX: usize = 16 * KIB;
/// Verifications of passwords at once, for each file of users …
pub const ACCESS_VERIFICATIONS_MAX: usize = 2;
/// … and those that wait; further ones are answered with 503.
pub const ACCESS_VERIFICATIONS_WAITING_MAX: usize = 64;
/// Cost of a bcrypt hash: about a second.
pub const ACCESS_BCRYPT_COST_MAX: u32 = 14;
/// Rounds of a SHA-crypt hash: about a second.
pub const ACCESS_SHA_CRYPT_ROUNDS_MAX: u32 = 1_000_000;
/// Memory of an Argon2 hash, KiB.
pub const ACCESS_ARGON2_KIB_MAX: u32 = 256 * 1024;
/// Passes of an Argon2 hash over its memory, times its lanes.
pub const ACCESS_ARGON2_PASSES_MAX: u32 = 16;
/// Bytes of a settings file.
pub const SETTINGS_BYTES_MAX: u64 = 4 * MIB as u64;
/// Bytes of a node's name; it stands in fields of every response.
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// Mistakes of one settings file that are shown to people; the rest are counted.
pub const MISTAKES_SHOWN_MAX: usize = 50;
/// How long a client command waits for the node's answer.
pub const ADMIN_CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that a client command reads.
pub const ADMIN_CLIENT_BYTES_MAX: usize = 64 * MIB;
/// Fetches a second that soft purges may cause.
pub const REFRESH_PER_SECOND: u32 = 100;
/// Pages that wait to be refreshed after a soft purge; what does not fit waits for its next request.
pub const REFRESHES_WAITING_MAX: usize = 4096;
/// How long a stream or a parent's log may be out of reach before what is stored is no longer trusted.
pub const UNSYNCED_AFTER: Duration = Duration::from_secs(10);
/// How long a node waits for a purge before it asks the stream again how it is.
pub const FLEET_PULL: Duration = Duration::from_secs(5);
/// Between attempts to reach a stream or a parent's log that is away.
pub const FLEET_RETRY: Duration = Duration::from_millis(250);
/// How often a node says how far it is although nothing has changed.
pub const FLEET_ANNOUNCE: Duration = Duration::from_secs(5);
/// How long nothing is to be given before it is written down how much was: a start gives from there on.
pub const FLEET_NOTE: Duration = Duration::from_mins(10);
/// A node that has not been heard of for so long is no longer waited for.
pub const FLEET_MEMBER_KEPT: Duration = Duration::from_mins(1);
/// Calls of one child that wait for a purge at the same time: it makes one, and those of connections that broke end by themselves.
pub const FLEET_POLLS_A_CHILD: usize = 4;
/// …and of all children.
pub const FLEET_POLLS: usize = 1024;
/// How long a purge that asks for it waits for the fleet.
pub const FLEET_RECEIPT_WAIT: Duration = Duration::from_secs(5);
/// Over how many nodes, one a parent of the other, it is asked who has a purge: each waits a little shorter than who asks it.
pub const FLEET_RECEIPT_HOPS: u8 = 4;
/// By how much.
pub const FLEET_RECEIPT_SPARE: Duration = Duration::from_millis(500);
/// How long the log of purges keeps a record. What nobody has asked for since an older one counts as purged.
pub const PURGE_RECORDS_KEPT: Duration = Duration::from_hours(30 * 24);
/// Requests a second of `purge --warm` where it does not say.
pub const WARM_RATE: u32 = 20;
/// Connections in a row that `purge --warm` cannot make before it gives up.
pub const WARM_FAILURES_MAX: usize = 10;
/// Connections to the admin listener.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;
/// What a peer that is not served still may send while it is told why, bytes.
pub const TURNED_AWAY_BYTES_MAX: u64 = 64 * KIB as u64;
/// And for how long it is told.
pub const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);
/// How often idle connections to origins are looked over.
pub const ORIGIN_SWEEP: Duration = Duration::from_secs(1);
/// Keys whose last response was not stored that `explain` remembers, at most.
pub const NOT_STORED_REMEMBERED_MAX: usize = 8192;
/// Window of an HTTP/2 request body, bytes; and of all bodies of a connection together.
pub const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// See [`H2_STREAM_WINDOW_BYTES`].
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Body bytes in one DATA frame: with its head it fills a TLS record, and streams take turns by frames.
pub const H2_DATA_BYTES_MAX: i64 = 16 * 1024 - 9;
/// Encoded header block, bytes, CONTINUATION included; beyond it the connection ends. What exceeds only
/// [`H2_HEADER_LIST_BYTES_MAX`] is answered with 431.
pub const H2_BLOCK_BYTES_MAX: usize = 64 * KIB;
/// The decoder's dynamic table, bytes as RFC 7541 counts them: what every client may use without asking.
pub const H2_TABLE_BYTES: usize = 4096;
/// Heads of requests are cut off chunks of this many bytes; a request that waits keeps its chunk.
pub const H2_HEAD_CHUNK_BYTES: usize = 4 * KIB;
/// Streams that we have reset of which is remembered that what still comes for them is to be ignored.
pub const H2_IGNORED_STREAMS: usize = 128;
/// Requests taken after the client was told to go and before it is held to it.
pub const H2_LAST_REQUESTS: u64 = 100;
/// Reads and writes of one connection in a row before the others on its thread have their turn.
pub const H2_TURNS_MAX: usize = 16;
/// Streams reset for the client's errors before the connection ends.
pub const H2_ERROR_RESETS_MAX: usize = 100;
/// Frames without progress that an HTTP/2 connection may send in a row. FAULTS B15.
pub const H2_CREDIT: u32 = 1000;
/// Credit given back for an answer that ended.
pub const H2_ANSWER_CREDIT: u32 = 8;
/// Body bytes sent that give back one credit: a client may update its windows twice for 16 KiB and still gain.
pub const H2_SENT_BYTES_PER_CREDIT: u32 = 4096;
/// Credit given back by time alone, for keep-alive PINGs.
pub const H2_CREDIT_PER_SECOND: u32 = 1;
/// Payload bytes of a frame without progress that cost as much as a frame.
pub const H2_COST_BYTES: u32 = 256;
/// Time to bring the last GOAWAY out on a connection that is being closed.
pub const H2_GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Rendered heads of stored responses that a worker keeps for HTTP/2; a prime, so that addresses spread.
pub const H2_HEADS_KEPT: usize = 251;
/// Parents of a tier.
pub const TIER_PARENTS_MAX: usize = 64;
/// Parents that are asked for one fill before its origin is.
pub const TIER_ATTEMPTS_MAX: usize = 2;
/// From a request to a parent to a sign of life: its answer, or the word that it is asking in its turn. Then another parent is
/// asked, or the origin. FAULTS F11.
pub const TIER_PATIENCE: Duration = Duration::from_millis(1500);
/// From the first such word of a parent to the next; each further one takes twice as long, so that few are enough for a slow
/// origin, and a parent that is lost meanwhile is given up after as long again.
pub const TIER_SIGN_EVERY: Duration = Duration::from_secs(1);
/// TCP and TLS to a parent together.
pub const TIER_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a request waits for a connection to a parent: elsewhere it is served sooner.
pub const TIER_QUEUE_TIMEOUT: Duration = Duration::from_millis(500);
/// From a request to the head of a parent's answer, once it has shown that it lives: it may have asked several origins.
pub const TIER_FIRST_BYTE_TIMEOUT: Duration = Duration::from_mins(1);
/// Failures in a row after which a parent is left out. One: the origin is at hand.
pub const TIER_EJECT_AFTER: u32 = 1;
/// For how long, the first time.
pub const TIER_EJECT_FOR: Duration = Duration::from_secs(1);
/// A parent with more requests under way than this share of the mean, in percent …
pub const TIER_LOAD_PERCENT: u64 = 125;
/// … and so many more leaves further ones to the next in their order.
pub const TIER_LOAD_SLACK: u64 = 4;
/// How long a parent waits for the purges that a child knows of before it goes around what it has stored.
pub const TIER_BARRIER_PATIENCE: Duration = Duration::from_millis(200);
/// How far the clocks of a tier's nodes may differ.
pub const TIER_CLOCK_SKEW: Duration = Duration::from_mins(5);
/// Bytes of a shared key: enough not to be guessed, and at most.
pub const TIER_KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;
/// After an unsafe request that changed a resource its parents are asked around what they have stored of it for so long.
pub const TIER_CHANGED_HOLD: Duration = Duration::from_mins(10);
/// Places of the table in which such resources are remembered; two that share one are fetched around once more.
pub const TIER_CHANGED_PLACES: usize = 4096;
/// Bytes read of a parent's error page, to keep its connection.
pub const TIER_PAGE_BYTES_MAX: usize = 16 * KIB;
/// Bytes of a piece of a parent's log.
pub const TIER_CALL_BYTES_MAX: usize = 16 * MIB;

/// Bytes of all the files that an import reads.
pub const IMPORT_BYTES_MAX: u64 = 4 << 20;
/// Bytes of what an import has once snippets are in their places.
pub const IMPORT_FILLED_BYTES_MAX: usize = 16 << 20;
/// Bytes of a word in which arguments of a snippet are filled in, and of an argument.
pub const IMPORT_FILLED_WORD_BYTES_MAX: usize = 4096;
/// Files that an import reads.
pub const IMPORT_FILES_MAX: usize = 1_000;
/// How deep blocks of other servers' settings lie in one another, and files include one another.
pub const IMPORT_DEPTH_MAX: usize = 32;
/// Words and directives of other servers' settings.
pub const IMPORT_WORDS_MAX: usize = 200_000;
/// Notes of an import; further ones are left out.
pub const IMPORT_NOTES_MAX: usize = 1_000;

/// Copies of requests (`mirror`) under way in the process; what finds no room is not copied.
pub const MIRRORED_MAX: usize = 256;
/// How long one of them may take, answer included.
pub const MIRROR_PATIENCE: Duration = Duration::from_secs(30);
/// How much of its answer is read before it is dropped, bytes.
pub const MIRROR_BODY_BYTES_MAX: usize = 1 << 20;
/// Parts of `User-Agent` by which crawlers are known.
pub const CRAWLER_AGENTS_MAX: usize = 256;
