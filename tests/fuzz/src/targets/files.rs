//! Files that others write: geo databases (`geo/`), certificates and keys (`listener/tls.rs`).

use std::cell::OnceCell;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use geo::{Geo, Layout};
use mmdb_writer::ipnet::IpNet;
use mmdb_writer::{Value, Writer};
use tidegate::config::Certificate;
use tidegate::listener::tls::{Certificates, TlsError};

use crate::reached;

/// A folder of this thread's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let thread = format!("{:?}", std::thread::current().id());
        let number: String = thread.chars().filter(char::is_ascii_digit).collect();
        let path = std::env::temp_dir().join(format!("tidegate-fuzz-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the system's folder for such files is not worth a panic.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_file<T>(name: &str, bytes: &[u8], then: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static FOLDER: OnceCell<Folder> = const { OnceCell::new() };
    }
    FOLDER.with(|folder| then(&folder.get_or_init(Folder::new).put(name, bytes)))
}

/// A database that is taken answers for every address without a panic, and with what a place may be.
pub fn geo_database(data: &[u8]) {
    for layout in [Layout::maxmind(), Layout::flat()] {
        let opened = with_file("x.mmdb", data, |path| Geo::open(path, layout));
        let geo = match opened {
            Ok(geo) => geo,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                reached((
                    std::mem::discriminant(&error),
                    cause.chars().filter(char::is_ascii_alphabetic).take(40).collect::<String>(),
                ));
                continue;
            }
        };
        reached("opened");
        for step in 0..=255_u8 {
            let four = IpAddr::from(Ipv4Addr::new(step, 2, step.wrapping_mul(69), step));
            let six =
                IpAddr::from(Ipv6Addr::from([0x2a, step, step, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, step]));
            for address in [four, six] {
                let Some(place) = geo.locate(address) else { continue };
                reached((place.country.is_some(), place.region.is_some(), place.coordinates.is_some()));
                if let Some(country) = place.country {
                    assert!(!country.to_string().is_empty());
                }
            }
        }
    }
}

/// Databases in both layouts, to be mangled.
pub fn databases() -> Vec<Vec<u8>> {
    let text = |text: &str| Value::String(text.to_owned());
    let map = |entries: Vec<(&str, Value)>| {
        Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let rich = map(vec![
        ("country", map(vec![("iso_code", text("DE"))])),
        ("continent", map(vec![("code", text("EU"))])),
        ("subdivisions", Value::Array(vec![map(vec![("iso_code", text("BY"))])])),
        ("location", map(vec![("latitude", Value::Double(48.14)), ("longitude", Value::Double(11.58))])),
    ]);
    let flat = map(vec![("country_code", text("FR"))]);
    [rich, flat]
        .into_iter()
        .map(|record| {
            let mut writer = Writer::builder("Fuzz").build_epoch(std::time::UNIX_EPOCH).build();
            for network in ["81.2.69.0/24", "2a02::/16"] {
                let network = network.parse::<IpNet>().unwrap_or_else(|error| panic!("{error}"));
                writer.insert_value(network, record.clone()).unwrap_or_else(|error| panic!("{error}"));
            }
            writer.to_bytes().unwrap_or_else(|error| panic!("{error}"))
        })
        .collect()
}

/// Certificate and key in one file: taken, or told why not, with what to do about it.
pub fn tls_files(data: &[u8]) {
    let loaded = with_file("x.pem", data, |path| {
        Certificates::load(&[Certificate { cert: path.to_owned(), key: path.to_owned() }])
    });
    match loaded {
        Ok(certificates) => {
            reached("loaded");
            for host in ["a.example", "", "*", "[::1]", "a\0"] {
                certificates.misdirected(Some(host), host);
                certificates.misdirected(None, host);
            }
        }
        Err(error) => {
            reached(std::mem::discriminant(&error));
            if let TlsError::File { what, help, .. } = &error {
                reached(what.get(..30).map(str::to_owned));
                assert!(!what.is_empty() && !help.is_empty());
            }
        }
    }
}

/// Words of PEM files.
pub const PEM_WORDS: &[&str] = &[
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "-----BEGIN PRIVATE KEY-----\n",
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN RSA PRIVATE KEY-----\n",
    "-----BEGIN EC PRIVATE KEY-----\n",
    "-----",
    "MII",
    "AAAA",
    "==",
    "\n",
];
