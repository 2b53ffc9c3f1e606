//! Cells about encodings: hits on one page of text, by clients that take no coding and by such that take gzip.
//!
//! nginx compresses at every hit; Tidegate serves a form that was made once. Told are CPU a request for both kinds of clients, what
//! the second costs of the first, and the bytes of an answer. Servers stand on one core, so an encoder's work would show.

use std::io;

use crate::cells::Cell;
use crate::compare::Comparison;
use crate::load::{get_taking, wrk_taking};
use crate::servers::Name;
use crate::table::spread;
use crate::time::pause;

impl Comparison {
    /// Hits on encoded pages of one size.
    pub(crate) fn encoded(&self, cell: &Cell) -> io::Result<String> {
        let Cell { name, size, connections, .. } = cell;
        let mut text = format!(
            "\n### {name}: a page of {size} bytes, {connections} connections, {} s a run\n\n\
             | Server | plain CPU µs/req | gzip CPU µs/req | gzip × plain | plain bytes | gzip bytes | gzip req/s | errors |\n\
             |---|---|---|---|---|---|---|---|\n",
            self.secs
        );
        for name in self.names.iter().filter(|name| matches!(name, Name::Tidegate | Name::Nginx)) {
            let server = self.stage.start_encoding(*name)?;
            let path = format!("/o/page?s={size}&text");
            let mut bytes = [0; 2];
            for (kind, accept) in ACCEPTED.iter().enumerate() {
                for _ in 0..WARMED {
                    let (length, is_encoded) = get_taking(server.plain, &path, accept)?;
                    bytes[kind] = length;
                    if is_encoded != accept.is_empty() {
                        break;
                    }
                    pause(50);
                }
            }
            let url = format!("http://{}{path}", server.plain);
            let mut rows: [Vec<f64>; 5] = Default::default();
            for round in 0..self.rounds {
                let mut spent = [0.0; 2];
                for turn in 0..ACCEPTED.len() {
                    let kind = (turn + round) % ACCEPTED.len();
                    let cpu = server.cpu();
                    let sample =
                        wrk_taking(&self.stage, &url, *connections, self.secs, false, None, ACCEPTED[kind])?;
                    spent[kind] = server.cpu().saturating_sub(cpu) as f64 / 1000.0 / sample.requests.max(1.0);
                    if kind == 1 {
                        rows[3].push(sample.rate);
                    }
                    rows[4].push(sample.errors);
                    server.truncate_logs();
                }
                for (row, figure) in rows.iter_mut().zip([spent[0], spent[1], spent[1] / spent[0]]) {
                    row.push(figure);
                }
            }
            let told: Vec<_> =
                rows.iter().zip([2, 2, 2, 0, 0]).map(|(row, digits)| spread(row, digits)).collect();
            let [plain, gzip, ratio, rate, errors] = &told[..] else { continue };
            text += &format!(
                "| {} | {plain} | {gzip} | {ratio} | {} | {} | {rate} | {errors} |\n",
                server.title, bytes[0], bytes[1]
            );
        }
        Ok(text)
    }
}

const ACCEPTED: [&str; 2] = ["", "gzip"];
/// Requests until a form must have been made.
const WARMED: usize = 200;
