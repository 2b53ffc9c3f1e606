//! Databases written by `mmdb-writer`, in both layouts, whole and damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use mmdb_writer::ipnet::IpNet;
use mmdb_writer::{Value, Writer};

use super::*;

/// A directory of this test's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("geo-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Puts a file in place as an update tool does: written beside, then renamed.
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let (beside, path) = (self.0.join("beside"), self.0.join(name));
        fs::write(&beside, bytes).unwrap();
        fs::rename(&beside, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<BTreeMap<_, _>>(),
    )
}

fn maxmind(country: &str) -> Value {
    map(&[
        ("country", map(&[("iso_code", text(country))])),
        ("continent", map(&[("code", text("EU"))])),
        ("subdivisions", Value::Array(vec![map(&[("iso_code", text("BY"))])])),
        ("location", map(&[("latitude", Value::Double(48.14)), ("longitude", Value::Double(11.58))])),
    ])
}

fn flat(country: &str) -> Value {
    map(&[("country_code", text(country))])
}

fn database(records: &[(&str, Value)]) -> Vec<u8> {
    let mut writer = Writer::builder("Test").description(&[("en", "A test")]).build();
    for (network, value) in records {
        writer.insert_value(network.parse::<IpNet>().unwrap(), value.clone()).unwrap();
    }
    writer.to_bytes().unwrap()
}

fn country(geo: &Geo, address: &str) -> Option<String> {
    Some(geo.locate(address.parse().unwrap())?.country?.to_string())
}

#[test]
fn both_layouts_give_the_country() {
    let folder = Folder::new("layouts");
    for (claim, layout, record) in [
        ("MaxMind keeps it in a map", Layout::maxmind(), maxmind("DE")),
        ("DB-IP keeps it flat", Layout::flat(), flat("DE")),
        ("a setting names MaxMind's place", Layout::with_country(&["country", "iso_code"]), maxmind("de")),
        ("a setting names DB-IP's place", Layout::with_country(&["country_code"]), flat("DE")),
    ] {
        let path = folder.put("x.mmdb", &database(&[("81.2.69.0/24", record)]));
        let geo = Geo::open(&path, layout).unwrap();
        assert_eq!(country(&geo, "81.2.69.7").as_deref(), Some("DE"), "{claim}");
    }
}

#[test]
fn a_database_of_either_layout_is_understood_where_both_are_looked_for_also_when_it_changes() {
    let folder = Folder::new("any");
    let path = folder.put("x.mmdb", &database(&[("81.2.69.0/24", flat("GB"))]));
    let geo = Geo::open_any(&path, vec![Layout::maxmind(), Layout::flat()]).unwrap();
    assert_eq!(country(&geo, "81.2.69.1").as_deref(), Some("GB"));
    folder.put("x.mmdb", &database(&[("81.2.69.0/24", maxmind("IE"))]));
    geo.reload(&path).unwrap();
    assert_eq!(country(&geo, "81.2.69.1").as_deref(), Some("IE"));
    assert_eq!(geo.kind(), "Test");
}

/// `cp` over the file in use: a mapped one would end the process.
#[test]
fn a_database_that_does_not_describe_itself_is_one() {
    let folder = Folder::new("undescribed");
    let mut writer = Writer::builder("").build();
    writer.insert_value("81.2.69.0/24".parse::<IpNet>().unwrap(), flat("GB")).unwrap();
    let geo = Geo::open(&folder.put("x.mmdb", &writer.to_bytes().unwrap()), Layout::flat()).unwrap();
    assert_eq!(country(&geo, "81.2.69.1").as_deref(), Some("GB"));
}

#[test]
fn a_file_that_is_overwritten_in_place_harms_nobody() {
    let folder = Folder::new("in-place");
    let path = folder.put("x.mmdb", &database(&[("81.2.69.0/24", flat("GB"))]));
    let geo = Geo::open(&path, Layout::flat()).unwrap();
    fs::write(&path, b"").unwrap();
    assert_eq!(country(&geo, "81.2.69.1").as_deref(), Some("GB"));
    assert!(geo.reload(&path).is_err());
    assert_eq!(country(&geo, "81.2.69.1").as_deref(), Some("GB"));
}

#[test]
fn a_thousand_addresses_are_where_the_database_says() {
    const COUNTRIES: [&str; 7] = ["DE", "FR", "US", "CA", "JP", "BR", "ZA"];
    let folder = Folder::new("thousand");
    // Networks of several lengths, IPv4 and IPv6, with gaps between them.
    let networks: Vec<(String, &str)> = (0..250_usize)
        .map(|nth| {
            let country = COUNTRIES[nth % COUNTRIES.len()];
            let network = match nth % 3 {
                0 => format!("{}.{}.0.0/16", 20 + nth / 8, nth % 256),
                1 => format!("{}.{}.{}.0/24", 60 + nth / 8, nth % 256, (nth * 7) % 256),
                _ => format!("2a0{:x}:{:x}::/32", nth % 16, 1 + nth),
            };
            (network, country)
        })
        .collect();
    let records: Vec<_> =
        networks.iter().map(|(network, country)| (network.as_str(), flat(country))).collect();
    let geo = Geo::open(&folder.put("x.mmdb", &database(&records)), Layout::flat()).unwrap();
    let mut looked = 0;
    for (network, expected) in &networks {
        let network: IpNet = network.parse().unwrap();
        let (first, last) = (network.network(), network.broadcast());
        let (before, after) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (
                IpAddr::from((first.to_bits() - 1).to_be_bytes()),
                IpAddr::from((last.to_bits() + 1).to_be_bytes()),
            ),
            (IpAddr::V6(first), IpAddr::V6(last)) => (
                IpAddr::from((first.to_bits() - 1).to_be_bytes()),
                IpAddr::from((last.to_bits() + 1).to_be_bytes()),
            ),
            _ => unreachable!(),
        };
        for (address, inside) in [(first, true), (last, true), (before, false), (after, false)] {
            looked += 1;
            let of_another =
                || networks.iter().any(|(other, _)| other.parse::<IpNet>().unwrap().contains(&address));
            let found =
                geo.locate(address).and_then(|place| place.country).map(|country| country.to_string());
            if inside {
                assert_eq!(found.as_deref(), Some(*expected), "{address}");
            } else {
                assert_eq!(found.is_some(), of_another(), "{address}");
            }
        }
    }
    assert_eq!(looked, 1000);
}

#[test]
fn a_place_has_all_that_the_database_knows() {
    let folder = Folder::new("place");
    let geo = Geo::open(&folder.put("x.mmdb", &database(&[("2a02::/16", maxmind("DE"))])), Layout::maxmind())
        .unwrap();
    let place = geo.locate("2a02::1".parse().unwrap()).unwrap();
    assert_eq!(place.country, Code::new("DE"));
    assert_eq!(place.continent, Code::new("EU"));
    assert_eq!(place.region, Code::new("BY"));
    assert_eq!(place.coordinates, Coordinates::new(48.14, 11.58));
}

#[test]
fn addresses_are_looked_up_as_what_they_are() {
    let folder = Folder::new("addresses");
    let bytes = database(&[("81.2.69.0/24", flat("GB")), ("2001:4860::/32", flat("US"))]);
    let geo = Geo::open(&folder.put("x.mmdb", &bytes), Layout::flat()).unwrap();
    for (claim, address, expected) in [
        ("an IPv4 address", "81.2.69.255", Some("GB")),
        ("an IPv4-mapped IPv6 address is IPv4", "::ffff:81.2.69.1", Some("GB")),
        ("an IPv6 address", "2001:4860::8888", Some("US")),
        ("an address beside the network has no place", "81.2.70.0", None),
        ("a private address has no place", "10.0.0.1", None),
        ("loopback has no place", "::1", None),
    ] {
        assert_eq!(country(&geo, address).as_deref(), expected, "{claim}");
    }
}

#[test]
fn what_the_record_has_in_another_shape_is_unknown() {
    let folder = Folder::new("shapes");
    let bytes = database(&[
        ("20.0.0.0/24", flat("FR")),
        ("20.0.1.0/24", map(&[("country_code", Value::from(7_u32))])),
        ("20.0.2.0/24", text("DE")),
        ("20.0.3.0/24", flat("a country")),
        ("20.0.4.0/24", flat("")),
        ("20.0.5.0/24", map(&[("latitude", Value::Double(500.0)), ("longitude", Value::Double(1.0))])),
    ]);
    let geo = Geo::open(&folder.put("x.mmdb", &bytes), Layout::flat()).unwrap();
    assert_eq!(country(&geo, "20.0.0.1").as_deref(), Some("FR"));
    for address in ["20.0.1.1", "20.0.2.1", "20.0.3.1", "20.0.4.1", "20.0.5.1"] {
        assert_eq!(geo.locate(address.parse().unwrap()), None, "{address}");
    }
}

#[test]
fn a_new_file_is_used_from_the_reload_on() {
    let folder = Folder::new("reload");
    let path = folder.put("x.mmdb", &database(&[("81.2.69.0/24", flat("GB"))]));
    let geo = Geo::open(&path, Layout::flat()).unwrap();
    folder.put("x.mmdb", &database(&[("81.2.69.0/24", flat("IE"))]));
    assert_eq!(country(&geo, "81.2.69.1").as_deref(), Some("GB"), "the renamed file is not read by itself");
    geo.reload(&path).unwrap();
    assert_eq!(country(&geo, "81.2.69.1").as_deref(), Some("IE"));
}

type IsExpected = fn(&GeoError) -> bool;

#[test]
fn a_bad_file_is_refused_and_the_old_one_kept() {
    let folder = Folder::new("bad");
    let good = database(&[("81.2.69.0/24", flat("GB")), ("90.0.0.0/8", flat("FR"))]);
    let geo = Geo::open(&folder.put("good.mmdb", &good), Layout::flat()).unwrap();
    let half = good.get(..good.len() / 2).unwrap();
    let elsewhere = database(&[("81.2.69.0/24", maxmind("GB"))]);
    let rows: [(&str, &[u8], IsExpected); 4] = [
        ("an empty file", b"", |error| matches!(error, GeoError::Open(_) | GeoError::Damaged(_))),
        ("a text file", b"not a database", |error| matches!(error, GeoError::Damaged(_))),
        ("half a file", half, |error| matches!(error, GeoError::Damaged(_))),
        ("another layout", &elsewhere, |error| matches!(error, GeoError::NoCountry { .. })),
    ];
    for (claim, bytes, is_expected) in rows {
        let error = geo.reload(&folder.put("bad.mmdb", bytes)).unwrap_err();
        assert!(is_expected(&error), "{claim}: {error:?}");
        assert_eq!(country(&geo, "81.2.69.1").as_deref(), Some("GB"), "{claim}");
    }
    let missing = geo.reload(&folder.0.join("missing.mmdb")).unwrap_err();
    assert!(matches!(missing, GeoError::Open(_)), "{missing:?}");
}

/// FAULTS F5: every byte of a small database, each with three damages.
#[test]
fn no_damaged_byte_makes_it_panic() {
    let folder = Folder::new("flips");
    let good = database(&[("81.2.69.0/24", maxmind("GB")), ("2a02::/16", maxmind("DE"))]);
    let mut refused = 0;
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = good.clone();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flip;
            }
            match Geo::open(&folder.put("x.mmdb", &bytes), Layout::maxmind()) {
                Ok(geo) => {
                    for address in ["81.2.69.1", "2a02::1", "::", "255.255.255.255"] {
                        let _ = geo.locate(address.parse().unwrap());
                    }
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > good.len() / 2, "only {refused} damages were seen");
}

#[test]
fn a_code_is_one_to_three_letters_or_digits_in_capitals() {
    for (text, expected) in [
        ("de", Some("DE")),
        ("BY", Some("BY")),
        ("09", Some("09")),
        ("ENG", Some("ENG")),
        ("", None),
        ("EURO", None),
        ("D ", None),
        ("é", None),
    ] {
        assert_eq!(Code::new(text).as_ref().map(Code::as_str), expected, "{text:?}");
    }
}
