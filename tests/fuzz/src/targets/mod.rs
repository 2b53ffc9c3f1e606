//! The targets: a function a parser, with what its inputs are made of.
//!
//! Invariant: a target is a pure function of its bytes, so that an input replays what it did.

pub mod access;
pub mod admin;
pub mod config;
pub mod files;
pub mod h1;
pub mod h2;
pub mod import;
pub mod log;
pub mod origin;
pub mod proxied;
pub mod respond;
pub mod route;
pub mod rules;
pub mod second;

/// One parser under test.
#[derive(Debug)]
pub struct Target {
    /// Its name, and its seeds' folder.
    pub name: &'static str,
    /// Gives it the bytes and checks what must hold; panics where that does not.
    pub run: fn(&[u8]),
    /// Words that mean something to it.
    pub words: &'static [&'static str],
    /// Other folders with seeds, relative to this crate.
    pub shared: &'static [&'static str],
    /// Seeds that are made rather than kept as files.
    pub made: fn() -> Vec<Vec<u8>>,
    /// Bytes of the longest input.
    pub bytes_max: usize,
    /// Inputs in a smoke run.
    pub smoke_inputs: u64,
    /// Outcomes that a smoke run comes to at least: a fifth below what it came to when this was written.
    pub outcomes_min: usize,
}

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    words: &'static [&'static str],
    smoke_inputs: u64,
    outcomes_min: usize,
) -> Target {
    Target { name, run, words, shared: &[], made: Vec::new, bytes_max: 4096, smoke_inputs, outcomes_min }
}

/// All of them. The slowest first, so that they do not end a run alone.
pub const TARGETS: &[Target] = &[
    Target {
        shared: &["../config/good", "../config/bad"],
        bytes_max: 8192,
        ..target("config_text", config::config_text, config::WORDS, 4_000, 27)
    },
    Target {
        made: files::databases,
        bytes_max: 16_384,
        ..target("geo_database", files::geo_database, &[], 4_000, 22)
    },
    target("tls_files", files::tls_files, files::PEM_WORDS, 3_000, 12),
    target("h1_against_hyper", h1::h1_against_hyper, h1::WORDS, 40_000, 124),
    target("h1_requests", h1::h1_requests, h1::WORDS, 40_000, 153),
    target("chunked_body", h1::chunked_body, h1::CHUNK_WORDS, 60_000, 31),
    target("origin_response", origin::origin_response, origin::WORDS, 40_000, 18),
    target("origin_against_hyper", origin::origin_against_hyper, origin::WORDS, 30_000, 17),
    target("forwarded_fields", origin::forwarded_fields, h1::WORDS, 20_000, 49),
    target("url_and_key", route::url_and_key, route::WORDS, 40_000, 13),
    target("header_values", rules::header_values, rules::WORDS, 60_000, 3000),
    target("caching_rules", rules::caching_rules, rules::WORDS, 30_000, 26),
    target("stored_answer", respond::stored_answer, rules::WORDS, 30_000, 90),
    target("ranges_held", rules::ranges_held, rules::WORDS, 30_000, 12),
    target("access_requests", access::access_requests, access::WORDS, 30_000, 4),
    target("inspected_bodies", access::inspected_bodies, access::BODY_WORDS, 60_000, 20),
    target("access_files", access::access_files, access::FILE_WORDS, 20_000, 4),
    target("proxied_client", proxied::proxied_client, proxied::WORDS, 30_000, 4),
    target("purge_call", admin::purge_call, admin::PURGE_WORDS, 30_000, 10),
    target("foreign_purge", admin::foreign_purge, admin::FOREIGN_WORDS, 30_000, 36),
    target("explain_query", admin::explain_query, admin::QUERY_WORDS, 40_000, 38),
    target("token_file", admin::token_file, admin::TOKEN_WORDS, 10_000, 30),
    target("h2_frames", h2::h2_frames, h2::WORDS, 20_000, 170),
    target("h2_header_blocks", h2::h2_header_blocks, h2::BLOCK_WORDS, 60_000, 216),
    target("nginx_settings", import::nginx_settings, import::NGINX_WORDS, 3_000, 5),
    target("caddy_settings", import::caddy_settings, import::CADDY_WORDS, 3_000, 5),
    target("access_log", log::access_log, h1::WORDS, 30_000, 19),
];

/// The input in pieces: as a whole, byte by byte, or in pieces whose lengths the input itself decides.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// In one.
    Whole,
    /// One byte a piece.
    Bytes,
    /// Pieces of 1 to 16 bytes.
    Uneven,
}

impl Cut {
    /// The pieces of `data`.
    pub fn pieces(self, data: &[u8]) -> Vec<&[u8]> {
        match self {
            Self::Whole => vec![data],
            Self::Bytes => data.chunks(1).collect(),
            Self::Uneven => {
                let (mut rest, mut pieces) = (data, Vec::new());
                while let Some(first) = rest.first() {
                    let (piece, after) = rest.split_at(rest.len().min(usize::from(first % 16) + 1));
                    pieces.push(piece);
                    rest = after;
                }
                pieces
            }
        }
    }
}

/// The lines of an input, without their ends.
pub fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Name and value pairs of lines, up to an empty one.
pub fn field_lines<'a>(lines: &mut impl Iterator<Item = &'a [u8]>) -> Vec<(&'a [u8], &'a [u8])> {
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at(at);
            Some((name, value.get(1..)?.trim_ascii()))
        })
        .collect()
}
