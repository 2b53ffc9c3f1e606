//! `POST /v1/deploy`: what a build changed is purged. What differs is found by `purge_api::deploy`; here it is read, carried
//! out where waiting for the disk is allowed, and told.

use std::sync::Arc;

use parking_lot::Mutex;
use purge_api::deploy::{self, DeployRequest};
use purge_api::{Problem, Refusal, Reply, call};

use super::purge::{Asked, By, audit, lost, normal};
use super::{Inner, body};
use crate::config::limits::{DEPLOY_BODIES, DEPLOY_BODY_BYTES_MAX};
use crate::listener::request::RequestBody;

/// One deploy at a time: two of one site would both compare with the one before.
pub(super) type Deploys = Mutex<()>;

impl Inner {
    pub(super) async fn deploy(self: Arc<Self>, asked: Asked, body: RequestBody) -> Reply {
        match self.try_deploy(asked, body).await {
            Ok(reply) => reply,
            Err(problem) => problem.into(),
        }
    }

    async fn try_deploy(self: Arc<Self>, asked: Asked, body: RequestBody) -> Result<Reply, Problem> {
        // Never closed. Held until the manifest is written: it is as large as its body.
        let held = self.bodies.acquire_many(DEPLOY_BODIES).await;
        let body = body::read(body, DEPLOY_BODY_BYTES_MAX, &self.clock).await?;
        let inner = Arc::clone(&self);
        let deploying = tokio::task::spawn_blocking(move || {
            let understood = DeployRequest::parse(&body, &normal);
            drop(body);
            let id = asked.id().to_string();
            let by = By { id: &id, ..asked.by() };
            let millis = || inner.clock.micros() / 1000;
            let call =
                purge_api::Call { node: inner.observe.node(), id: &id, bearer: by.bearer, millis: &millis };
            let told = understood.and_then(|request| {
                let _one = inner.deploys.lock();
                Ok((deploy::carry_out(inner.node().purger(), call, &request)?, request))
            });
            match &told {
                Ok((deployed, _)) => {
                    audit(&*inner.node(), &inner.clock, by, deployed.order.as_ref(), Ok(&deployed.receipt));
                }
                Err(refusal) => audit(&*inner.node(), &inner.clock, by, None, Err(refusal)),
            }
            told
        });
        let (mut deployed, request) =
            deploying.await.map_err(|_| lost())?.map_err(|refusal: Refusal| Problem::from(refusal))?;
        drop(held);
        deployed.receipt = call::with_fleet(self.node().purger(), request.wait, deployed.receipt).await;
        Ok(Reply::json(call::status_of(&deployed.receipt), &deployed.answer(&request)))
    }
}
