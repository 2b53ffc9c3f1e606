//! Geo databases made by a test, in MaxMind DB format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mmdb_writer::ipnet::IpNet;
use mmdb_writer::{Value, Writer};

/// A database in which these networks have these countries, as DB-IP's mirrors keep them.
pub(crate) fn countries(networks: &[(&str, &str)]) -> Vec<u8> {
    let records = networks.iter().map(|(network, country)| {
        (*network, BTreeMap::from([("country_code".to_owned(), Value::String((*country).to_owned()))]))
    });
    written(records)
}

/// A database in which these networks are at these points, degrees north and east, in some country.
pub(crate) fn points(networks: &[(&str, f64, f64)]) -> Vec<u8> {
    let records = networks.iter().map(|(network, north, east)| {
        let record = [
            ("country_code", Value::String("XK".to_owned())),
            ("latitude", Value::Double(*north)),
            ("longitude", Value::Double(*east)),
        ];
        (*network, record.map(|(key, value)| (key.to_owned(), value)).into())
    });
    written(records)
}

fn written<'n>(records: impl Iterator<Item = (&'n str, BTreeMap<String, Value>)>) -> Vec<u8> {
    let mut writer = Writer::builder("Test").description(&[("en", "made by a test")]).build();
    for (network, record) in records {
        let network: IpNet = network.parse().expect("a network");
        writer.insert_value(network, Value::Map(record)).expect("networks of a test fit");
    }
    writer.to_bytes().expect("a database of a test is written")
}

/// Puts a file in place as update tools do: written beside it, then renamed over it.
pub(crate) fn put(directory: &Path, bytes: &[u8]) -> PathBuf {
    let (beside, path) = (directory.join("beside"), directory.join("places.mmdb"));
    std::fs::write(&beside, bytes).expect("a file of a test");
    std::fs::rename(&beside, &path).expect("a file is renamed");
    path
}
