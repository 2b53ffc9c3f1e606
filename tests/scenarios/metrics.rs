//! Metrics are documented one by one: `docs/metrics.md` has each that a node exports, and no other; what is packaged asks for
//! none that does not exist.
//!
//! `TIDEGATE_BLESS=1` writes the table anew from what a node with everything switched on exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tidegate::config::access::Access;
use tidegate::config::inspect::{Inspect, InspectMode};
use tidegate::config::{DiskAdmission, DiskCache, Geo, GeoLayout, GeoPaths};

use crate::stage::directory::Directory;
use crate::stage::reply::reply;
use crate::stage::{Stage, atlas};

/// Kind, labels and meaning of a metric.
#[derive(Default, PartialEq, Eq, Debug)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    help: String,
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_exists() {
    let directory = Directory::new();
    let exported = families(&busy(&directory).await);
    let table = table(&exported);
    let path = root().join("docs/metrics.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the page says where the table begins");
    let (written, behind) = rest.split_once(END).expect("and where it ends");
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{behind}")).expect("it can be written");
        return;
    }
    assert_eq!(written, table, "docs/metrics.md is not what a node exports; TIDEGATE_BLESS=1 writes it anew");
}

/// What the dashboard and the alert rules ask for.
#[tokio::test]
async fn what_is_packaged_asks_for_metrics_and_labels_that_exist() {
    let page = std::fs::read_to_string(root().join("docs/metrics.md")).expect("the page is there");
    let documented: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` | "))
        .collect();
    assert!(documented.len() > 60, "{documented:?}");
    for file in ["packaging/grafana/tidegate.json", "packaging/prometheus/alerts.yml"] {
        let text = std::fs::read_to_string(root().join(file)).expect("it is packaged");
        let asked: BTreeSet<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("tidegate_"))
            .collect();
        assert!(asked.len() > 8, "{file}: {asked:?}");
        for name in asked {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let row = documented.get(name).or_else(|| documented.get(family?));
            assert!(row.is_some(), "{file} asks for {name}, which no node exports");
        }
    }
    let dashboard =
        std::fs::read_to_string(root().join("packaging/grafana/tidegate.json")).expect("it is there");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("it is JSON");
    let ids: Vec<_> =
        dashboard["panels"].as_array().expect("panels").iter().map(|panel| &panel["id"]).collect();
    assert!(ids.len() > 10 && ids.iter().enumerate().all(|(at, id)| !ids[..at].contains(id)), "{ids:?}");
}

/// Where Prometheus' own tool is: rules that it reads, and that fire when they should.
#[test]
fn the_alert_rules_are_what_prometheus_reads() {
    let promtool = std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let run =
            Command::new(&promtool).args(arguments).current_dir(root().join("packaging/prometheus")).output();
        match run {
            Ok(run) => assert!(run.status.success(), "{arguments:?}: {run:?}"),
            // Debian has it in `prometheus`; set `PROMTOOL` where it lies elsewhere.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        }
    }
}

/// The metrics of a node with a disk and a database, that has answered, failed and purged.
async fn busy(directory: &Directory) -> String {
    let countries = atlas::countries(&[("81.2.69.0/24", "GB")]);
    let database = atlas::put(directory.path(), &countries);
    let disk = DiskCache {
        path: directory.path().join("cache"),
        bytes: 256 << 20,
        admission: DiskAdmission::default(),
    };
    let inspect = Inspect::by_libinjection(InspectMode::Detect);
    let access = Access { inspect: Some(Arc::new(inspect)), ..Access::default() };
    let stage = Stage::build()
        .policy(move |site| site.access = Some(Arc::new(access)))
        .config(move |config, _| {
            config.cache.disk = Some(disk);
            config.geo = Some(Geo { database, layout: GeoLayout::Auto, paths: GeoPaths::default() });
        })
        .start()
        .await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    stage.origin("a").on("/gone", [reply(404)]);
    stage.client().get("/x").await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    stage.client().get("/x").await.expect(200, "x");
    stage.client().get("/gone").await.expect_status(404);
    stage.client().get("/gone?page=2").await.expect_status(404);
    let purged = stage.operator().post("/v1/purge", r#"{"tags":["a"],"soft":true}"#).await;
    assert!(purged.status < 300, "{purged:?}");
    stage.operator().get("/metrics").await.text()
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
        } else if let Some((name, labels)) = line.split_once('{') {
            let is_of = |family: &str| {
                name == family
                    || ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(family))
            };
            let of = families.iter_mut().find(|(family, _)| is_of(family)).expect("announced before").1;
            // A value may have anything in it: names stand in front of `="`.
            let names = labels.split("=\"").filter_map(|part| part.rsplit([',', '{']).next());
            let names = names.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            of.labels.extend(names.filter(|name| !name.is_empty() && *name != "le").map(str::to_owned));
        }
    }
    families
}

fn table(families: &BTreeMap<String, Family>) -> String {
    let mut table = String::from("\n| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n");
    for (name, Family { kind, labels, help }) in families {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(table, "| `{name}` | {kind} | {labels} | {help} |");
    }
    table
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

const BEGIN: &str = "<!-- metrics -->";
const END: &str = "<!-- /metrics -->";
