//! `ModSecurity` as an engine: what is to go to an origin is looked into, and what has a query, on threads of its own; and a hit is not.
//!
//! The engine is a stand-in (`modsecurity.c`) that says what it was asked; the real one is in `tests/real/cases/modsecurity.sh`.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use tidegate::config::ModSecurity;
use tidegate::config::access::Access;
use tidegate::config::inspect::{Engines, Inspect, InspectMode};
use tidegate::reload::ReloadError;

use crate::stage::answer::Answer;
use crate::stage::directory::Directory;
use crate::stage::gate::Gate;
use crate::stage::reply::reply;
use crate::stage::{Stage, secs};

#[tokio::test]
async fn a_hit_without_a_query_is_not_looked_into_and_everything_else_is() {
    let (stage, engine) = stage(InspectMode::Block).await;
    stage.origin("a").answers("*", |_| reply(200).cache_control("max-age=600").body("page"));
    for (claim, method, target, looked) in [
        ("a miss", "GET", "/x", 1),
        ("a hit", "GET", "/x", 0),
        ("a hit without its body", "HEAD", "/x", 0),
        ("a miss with a query", "GET", "/x?a=1", 1),
        ("a hit with a query", "GET", "/x?a=1", 1),
        ("what passes", "DELETE", "/x", 1),
        ("what passes with a body", "POST", "/y", 1),
    ] {
        let before = engine.looked().len();
        let body: &[u8] = if method == "POST" { b"a=b" } else { b"" };
        stage.client().request(method, target, body).await.expect_status(200);
        stage.until(|count| count.arriving_bytes == 0 && count.fills_under_way == 0).await;
        engine.until(before + looked).await;
        assert_eq!(engine.looked().len(), before + looked, "{claim}");
    }
    assert_eq!(engine.looked()[0], "GET /x 1.1");
    stage.client().request("PURGE", "/x", b"").await.expect_status(200);
    assert_eq!(engine.looked().len(), 5);
}

#[tokio::test]
async fn an_attack_is_refused_wherever_it_is_and_takes_nobodys_answer_with_it() {
    let (stage, _engine) = stage(InspectMode::Block).await;
    stage
        .origin("a")
        .answers("*", |_| reply(200).cache_control("max-age=1, stale-while-revalidate=600").body("page"));
    let attacker = stage.client().header("user-agent", "attack");
    let refused = |answer: Answer| {
        answer.expect_status(403).cache_status("detail=modsecurity").has("cache-control", "no-store");
    };
    refused(attacker.get("/x").await);
    refused(stage.client().get("/x?q=attack").await);
    refused(stage.client().post("/form", "a=b&c=attack").await);
    refused(attacker.clone().header("connection", "upgrade").header("upgrade", "websocket").get("/x").await);
    assert_eq!(stage.origin("a").seen().len(), 0);
    // Nobody waits for the fetch of one who is refused.
    let together = [stage.client().get("/x"), attacker.get("/x")];
    let mut statuses = Vec::new();
    for asked in together {
        statuses.push(asked.await.status);
    }
    assert_eq!(statuses[0], 200, "{statuses:?}");
    stage.until(|count| count.stored == 1).await;
    // What is stale is for everybody, and its refresh for those who may.
    stage.clock.advance(secs(3));
    attacker.get("/x").await.expect(200, "page").cache_status_has("hit");
    // Who comes while that is found out causes none; the next one does.
    for _ in 0..1000 {
        if stage.count().fills_under_way == 0 && stage.count().stored == 2 {
            break;
        }
        stage.client().get("/x").await.expect(200, "page");
    }
    stage.until(|count| count.stored == 2).await;
    for seen in stage.origin("a").seen() {
        assert_ne!(seen.field("user-agent").as_deref(), Some("attack"));
    }
    // A follower has the answer of one who was looked into.
    let gate = Gate::shut();
    stage.origin("a").on("/held", [reply(200).cache_control("max-age=600").body("held").head_after(&gate)]);
    let leader = stage.client().get("/held");
    stage.until(|count| count.fills_under_way == 1).await;
    let follower = stage.client().get("/held");
    stage.until(|count| count.collapsed == 1).await;
    gate.open();
    leader.await.expect(200, "held");
    follower.await.expect(200, "held");
}

#[tokio::test]
async fn what_is_only_detected_is_answered_and_told_of() {
    let (stage, _engine) = stage(InspectMode::Detect).await;
    stage.origin("a").answers("*", |_| reply(200).body("page"));
    stage.client().get("/x?q=attack").await.expect(200, "page");
    stage.client().post("/form", "attack").await.expect(200, "page");
    let metrics = told_of(&stage, "tidegate_reasons_total{reason=\"modsecurity-detected\"} 2").await;
    let claim = "tidegate_inspections_total{engine=\"modsecurity\",verdict=\"detected\"} 2";
    assert!(metrics.contains(claim), "{metrics}");
    assert_eq!(stage.origin("a").seen().pop().map(|seen| seen.body), Some(b"attack".to_vec()));
    let told = stage.operator().get("/v1/explain?url=http://www.example.test/attack").await.text();
    assert!(told.contains("\"modsecurity\":\"modsecurity 942100\"") && told.contains("\"fetch\""), "{told}");
}

#[tokio::test]
async fn whoever_finds_too_many_waiting_is_refused_or_goes_on_as_the_mode_says() {
    for mode in [InspectMode::Block, InspectMode::Detect] {
        let (stage, engine) = stage(mode).await;
        stage.origin("a").answers("*", |_| reply(200).cache_control("max-age=600").body("page"));
        stage.client().get("/hit").await.expect(200, "page");
        stage.until(|count| count.stored == 1).await;
        let first = stage.client().get("/slow?1");
        // Opens when somebody waits at the other end.
        let gate = engine.gate.clone();
        let gate = tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(gate)).await;
        let gate = gate.expect("it does not panic").expect("the pipe is there");
        let second = stage.client().get("/second");
        told_of(&stage, "tidegate_inspection_waiting 1").await;
        let third = stage.client().get("/third").await;
        // The worker is free all the while.
        stage.client().get("/hit").await.expect(200, "page").cache_status_has("hit");
        match mode {
            InspectMode::Block => {
                third.expect_status(503).cache_status("detail=inspection-busy").has("retry-after", "1");
            }
            InspectMode::Detect => {
                third.expect(200, "page");
            }
        }
        told_of(&stage, "tidegate_inspections_total{engine=\"modsecurity\",verdict=\"busy\"} 1").await;
        drop(gate);
        first.await.expect(200, "page");
        second.await.expect(200, "page");
    }
}

#[tokio::test]
async fn rules_are_read_again_at_a_reload_and_those_in_force_stay_where_they_cannot_be_read() {
    let (mut stage, engine) = stage(InspectMode::Block).await;
    stage.origin("a").answers("*", |_| reply(200).body("page"));
    engine.write("nonsense x\n");
    let error = stage.reload(|_| ()).await.expect_err("the rules are broken");
    assert!(matches!(error, ReloadError::Access(_)), "{error}");
    let told = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(told.contains("nobody knows this word"), "{error}: {told}");
    stage.client().get("/x?q=attack").await.expect_status(403);
    let counted = engine.directory.path().join("elsewhere");
    engine.write(&format!("count {}\n", counted.display()));
    stage.reload(|_| ()).await.expect("the rules are good");
    stage.client().get("/x?q=attack").await.expect_status(403);
    assert!(counted.exists());
}

/// A stand-in for the library, and where it says what it was asked.
struct Engine {
    directory: Directory,
    gate: PathBuf,
    counted: PathBuf,
}

impl Engine {
    fn new() -> Self {
        let directory = Directory::new();
        let (gate, counted) = (directory.path().join("gate"), directory.path().join("counted"));
        let made = Command::new("mkfifo").arg(&gate).status().expect("it is a command everywhere");
        assert!(made.success());
        let engine = Self { directory, gate, counted };
        engine.write(&format!("count {}\ngate {}\n", engine.counted.display(), engine.gate.display()));
        engine
    }

    fn write(&self, rules: &str) {
        fs::write(self.rules(), rules).expect("it is written");
    }

    fn rules(&self) -> PathBuf {
        self.directory.path().join("rules.conf")
    }

    /// Every request that was looked into.
    fn looked(&self) -> Vec<String> {
        fs::read_to_string(&self.counted).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Waits for the line of a request that has been answered already.
    async fn until(&self, lines: usize) {
        for _ in 0..1000 {
            if self.looked().len() >= lines {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn stage(mode: InspectMode) -> (Stage, Engine) {
    let engine = Engine::new();
    let settings = ModSecurity {
        rules: vec![engine.rules()],
        library: library().display().to_string(),
        concurrency: 1,
        queue_max: 1,
    };
    let engines = Engines { libinjection: false, modsecurity: Some(Arc::new(settings)) };
    let rule = Inspect { engines, ..Inspect::by_libinjection(mode) };
    let access = Access { inspect: Some(Arc::new(rule)), ..Access::default() };
    let stage = Stage::build().policy(move |site| site.access = Some(Arc::new(access))).start().await;
    (stage, engine)
}

/// `modsecurity.c`, compiled once a run.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/modsecurity.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("modsecurity.so");
        let mut compiler = Command::new("cc");
        let compiled =
            compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&library).arg(source).output();
        let compiled = compiled.expect("a C compiler: the build needs one too");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        library
    })
}

/// The metrics once this is in them.
async fn told_of(stage: &Stage, claim: &str) -> String {
    let mut metrics = String::new();
    for _ in 0..1000 {
        metrics = stage.operator().get("/metrics").await.text();
        if metrics.contains(claim) {
            break;
        }
    }
    assert!(metrics.contains(claim), "{claim} is not in {metrics}");
    metrics
}
