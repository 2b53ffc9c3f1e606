//! A node that is told to end finishes what is under way, takes nothing new, and does not wait for ever (FAULTS F10).

use crate::stage::client::within;
use crate::stage::gate::Gate;
use crate::stage::reply::{Frame, reply};
use crate::stage::wire::End;
use crate::stage::{Stage, secs};
use std::net::SocketAddr;
use tidegate::config::Config;
use tokio::net::TcpStream;

#[tokio::test]
async fn an_answer_under_way_is_finished_and_is_the_last_of_its_connection() {
    let mut stage = Stage::new().await;
    let (head, body) = (Gate::shut(), Gate::shut());
    stage.origin("a").on("/head", [reply(200).body("whole").head_after(&head)]);
    stage.origin("a").on("/body", [reply(200).body("firstlast").pause(5, &body)]);
    let waiting = stage.client().get("/head");
    let mut reading = stage.client().connect().await;
    reading.write(&stage.client().bytes("GET", "/body", b"")).await;
    reading.head().await;
    reading.read(5).await;
    stage.until(|count| count.requests == 2).await;
    stage.drain();
    head.open();
    waiting.await.expect(200, "whole").has("connection", "close");
    body.open();
    assert_eq!(reading.rest().await, (b"last".to_vec(), End::Clean));
    stage.shut_down().await;
}

/// Workers share connections to origins: the one that this client's worker reads from may be driven by the other's.
#[tokio::test]
async fn a_worker_without_clients_does_not_take_an_origin_connection_with_it() {
    // Which worker takes a client is the kernel's choice: in one of these rounds it is not the same twice.
    for _ in 0..12 {
        let one_connection = |config: &mut Config, _: &[SocketAddr]| {
            config.workers = 2;
            for pool in config.pools.values_mut() {
                pool.connections_max = 1;
            }
        };
        let mut stage = Stage::build().config(one_connection).start().await;
        let body = Gate::shut();
        stage.origin("a").on("/first", [reply(200).cache_control("no-store").body("first")]);
        stage.origin("a").on("/x", [reply(200).cache_control("no-store").body("firstlast").pause(5, &body)]);
        stage.client().get("/first").await.expect(200, "first");
        let mut reading = stage.client().connect().await;
        reading.write(&stage.client().bytes("GET", "/x", b"")).await;
        reading.head().await;
        reading.read(5).await;
        stage.drain();
        let address = stage.address();
        let refused = async { while TcpStream::connect(address).await.is_ok() {} };
        within(refused).await;
        body.open();
        assert_eq!(reading.rest().await, (b"last".to_vec(), End::Clean));
        stage.shut_down().await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_new_one_is_not_taken() {
    let mut stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    stage.origin("a").on("/busy", [reply(200).body("busy").head_after(&gate)]);
    let mut idle = stage.client().connect().await;
    idle.write(&stage.client().bytes("GET", "/x", b"")).await;
    idle.answer("GET").await.expect(200, "x");
    let busy = stage.client().get("/busy");
    stage.until(|count| count.requests == 2).await;
    stage.drain();
    assert_eq!(idle.rest().await, (Vec::new(), End::Clean));
    // Nobody listens any more, although the node still works.
    let address = stage.address();
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    within(refused).await;
    gate.open();
    busy.await.expect(200, "busy");
    stage.shut_down().await;
}

#[tokio::test]
async fn what_does_not_end_within_the_drain_is_cut_visibly() {
    for framing in [Frame::Length, Frame::Chunks(5)] {
        let mut stage = Stage::new().await;
        let never = Gate::shut();
        stage.origin("a").on("/x", [reply(200).body("firstlast").framed(framing).pause(5, &never)]);
        let client = stage.client().get("/x");
        stage
            .until(|count| count.arriving_bytes > 0 || count.fills_under_way == 0 && count.requests == 1)
            .await;
        stage.drain();
        stage.clock.advance(secs(29));
        assert!(!client.is_over(), "it has thirty seconds");
        let answer = stage.in_time(secs(2), client).await;
        assert!(answer.status == 0 || answer.was_cut(), "{answer:?}");
        stage.shut_down().await;
    }
}

#[tokio::test]
async fn a_node_without_work_ends_at_once_and_gives_its_ports_back() {
    let mut stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    stage.client().get("/x").await.expect(200, "x");
    let address = stage.address();
    stage.shut_down().await;
    let bound = std::net::TcpListener::bind(address);
    assert!(bound.is_ok(), "{bound:?}");
}

#[tokio::test]
async fn a_node_says_that_it_is_not_ready_once_it_ends() {
    let mut stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on("/busy", [reply(200).body("busy").head_after(&gate)]);
    stage.operator().get("/ready").await.expect(200, "ok\n");
    let busy = stage.client().get("/busy");
    stage.until(|count| count.requests == 1).await;
    stage.drain();
    stage.operator().get("/ready").await.expect_status(503);
    stage.operator().get("/live").await.expect(200, "ok\n");
    gate.open();
    busy.await.expect(200, "busy");
    stage.shut_down().await;
}

#[tokio::test]
async fn two_nodes_in_one_process_share_nothing() {
    let mut first = Stage::new().await;
    let second = Stage::new().await;
    for (stage, body) in [(&first, "first"), (&second, "second")] {
        stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body(body)]);
        stage.client().get("/x").await.expect(200, body);
        stage.until(|count| count.stored == 1).await;
    }
    first.shut_down().await;
    assert!(second.client().get("/x").await.expect(200, "second").is_hit());
}
