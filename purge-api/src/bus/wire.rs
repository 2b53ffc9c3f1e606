//! A record between nodes, as JSON.
//!
//! ```json
//! {"id":"00…2a","at":1764115200000,"soft":true,"take":[["url","https://a/x"],["tag","t"],["everything",""]]}
//! ```

use serde::{Deserialize, Serialize};

use super::BusError;
use crate::order::{Order, Scope, Selector};

/// A purge as nodes tell each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Names it everywhere.
    pub id: u128,
    /// When it was ordered, milliseconds since 1970.
    pub at_millis: u64,
    /// What it takes.
    pub order: Order,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    at: u64,
    soft: bool,
    take: Vec<(String, String)>,
}

impl Record {
    /// As written.
    pub fn to_json(&self) -> Vec<u8> {
        let take = self.order.selectors.iter();
        let written = Written {
            id: format!("{:032x}", self.id),
            at: self.at_millis,
            soft: self.order.soft,
            take: take.map(|taken| (taken.scope().as_str().to_owned(), taken.to_string())).collect(),
        };
        // Strings and numbers only.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// The record in this text.
    ///
    /// # Errors
    /// What it is not: another version's, or nobody's.
    pub fn from_json(text: &[u8]) -> Result<Self, BusError> {
        let bad = |why: String| BusError(format!("not a record of a purge: {why}"));
        let written: Written = serde_json::from_slice(text).map_err(|error| bad(error.to_string()))?;
        let id = u128::from_str_radix(&written.id, 16).map_err(|error| bad(error.to_string()))?;
        let selectors = written.take.iter().map(|(scope, text)| {
            let scope = Scope::named(scope).ok_or_else(|| bad(format!("unknown scope {scope:?}")))?;
            Selector::parse(scope, text).map_err(|error| bad(error.to_string()))
        });
        let selectors = selectors.collect::<Result<Vec<_>, _>>()?;
        if selectors.is_empty() {
            return Err(bad("it takes nothing".to_owned()));
        }
        Ok(Self { id, at_millis: written.at, order: Order { selectors, soft: written.soft } })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_reads_the_same_again() {
        let selectors = [
            (Scope::Url, "https://a/x?y=%22"),
            (Scope::Prefix, "http://a:81/n"),
            (Scope::Host, "a"),
            (Scope::Tag, "t\"\\"),
            (Scope::Everything, ""),
        ]
        .map(|(scope, text)| Selector::parse(scope, text).expect("well formed"));
        let record = Record {
            id: u128::MAX - 5,
            at_millis: 7,
            order: Order { selectors: selectors.into(), soft: true },
        };
        assert_eq!(Record::from_json(&record.to_json()), Ok(record));
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"id":"1","at":1,"soft":true,"take":[]}"#,
            r#"{"id":"1","at":1,"soft":true,"take":[["all",""]]}"#,
            r#"{"id":"1","at":1,"soft":true,"take":[["everything","x"]]}"#,
            r#"{"id":"1","at":1,"soft":true,"take":[["url","/x"]]}"#,
            r#"{"id":"x","at":1,"soft":true,"take":[["everything",""]]}"#,
            r#"{"id":"1","at":1,"soft":true,"hard":true,"take":[["everything",""]]}"#,
        ] {
            assert!(Record::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::from_json(&bytes);
        }
    }
}
