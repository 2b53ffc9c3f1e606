//! Carries out a request that has been understood: the one place where a call becomes a purge.
//!
//! [`carry_out`] waits for the disk, [`with_fleet`] for other nodes; whoever has the connection decides on which thread.

use http::StatusCode;

use crate::auth::Bearer;
use crate::request::{PurgeRequest, Wait};
use crate::{Applied, Matched, NodeReceipt, Purger, Receipt, Refusal};

/// The circumstances of a call.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The node that was called.
    pub node: &'a str,
    /// The call's id.
    pub id: &'a str,
    /// Who calls.
    pub bearer: &'a Bearer,
    /// Milliseconds on any steady time line; read twice.
    pub millis: &'a dyn Fn() -> u64,
}

/// Applies the request on this node, or counts what it would take.
///
/// # Errors
/// [`Refusal`]; nothing has been purged then.
pub fn carry_out(purger: &dyn Purger, call: Call<'_>, request: &PurgeRequest) -> Result<Receipt, Refusal> {
    let order = &request.order;
    if order.selectors.is_empty() {
        return Err(Refusal::Empty);
    }
    if let Some(selector) = call.bearer.grant().first_outside(order) {
        return Err(Refusal::OutOfScope { token: call.bearer.name().into(), what: selector.told() });
    }
    let counted = order.selectors.iter().all(|selector| selector.scope().is_counted());
    let mut receipt = Receipt::of(order, call.id);
    if request.dry_run {
        let Matched { objects, bytes, margin, is_partial } = purger.matched(order)?;
        receipt.margin = (margin > 0).then_some(margin);
        return Ok(Receipt {
            matched: Some(objects),
            bytes: Some(bytes),
            partial: is_partial,
            dry_run: true,
            ..receipt
        });
    }
    let beforehand = if counted { None } else { purger.beforehand(order) };
    let started = (call.millis)();
    let Applied { sequence, matched } = purger.purge(order)?;
    let ms = (call.millis)().saturating_sub(started);
    // The log gives a purge its name, the same on every node; that it cannot be read now takes nothing from what was done.
    let entry = purger.purges(sequence.saturating_sub(1), 1).unwrap_or_default().pop();
    if let Some(entry) = entry.filter(|entry| entry.sequence == sequence) {
        receipt.id = entry.id;
    }
    receipt.nodes.push(NodeReceipt { node: call.node.into(), sequence, ms });
    if let Some(Matched { objects, margin, is_partial, .. }) = beforehand {
        receipt.margin = (margin > 0).then_some(margin);
        (receipt.matched, receipt.partial) = (Some(objects), is_partial);
    }
    if counted {
        receipt.matched = Some(matched);
    }
    Ok(Receipt { sequence: Some(sequence), ..receipt })
}

/// The receipt with what the rest of the fleet says, where that is waited for.
pub async fn with_fleet(purger: &dyn Purger, wait: Wait, mut receipt: Receipt) -> Receipt {
    if let (Wait::Fleet, Some(sequence)) = (wait, receipt.sequence) {
        receipt.join(purger.fleet_applied(sequence).await);
    }
    receipt
}

/// 200, or 202 where a node that was waited for has not answered in time: the purge is on its way there.
pub fn status_of(receipt: &Receipt) -> StatusCode {
    if receipt.late.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;
    use crate::order::{Order, Scope, Selector};

    fn request(selectors: &[(Scope, &str)]) -> PurgeRequest {
        let selectors =
            selectors.iter().map(|(scope, text)| Selector::parse(*scope, text).unwrap()).collect();
        PurgeRequest { order: Order { selectors, soft: false }, dry_run: false, wait: Wait::Node }
    }

    fn ask(purger: &Fake, request: &PurgeRequest) -> Result<Receipt, Refusal> {
        carry_out(purger, Call { node: "n1", id: "call", bearer: &Bearer::Loopback, millis: &|| 0 }, request)
    }

    #[test]
    fn an_order_of_several_kinds_is_one_purge_with_the_logs_name() {
        let purger = Fake::holding(&["http://a/x", "http://a/news/1", "http://b/"]);
        let request =
            request(&[(Scope::Url, "http://a/x"), (Scope::Prefix, "https://a/news/"), (Scope::Host, "b")]);
        let receipt = ask(&purger, &request).unwrap();
        assert_eq!((receipt.sequence, receipt.matched, receipt.scope), (Some(1), Some(3), "mixed"));
        assert_eq!(receipt.id, "e1");
        assert_eq!(receipt.nodes, [NodeReceipt { node: "n1".into(), sequence: 1, ms: 0 }]);
        assert_eq!(purger.orders(), [request.order]);
    }

    #[test]
    fn what_cannot_be_counted_is_not_told_to_be_nothing() {
        let purger = Fake::holding(&["http://a/x"]);
        for (selectors, matched, in_haste) in [
            (&[(Scope::Url, "http://a/x")][..], 1, Some(1)),
            (&[(Scope::Tag, "t")], 0, None),
            (&[(Scope::Host, "a")], 1, None),
            (&[(Scope::Url, "http://a/x"), (Scope::Prefix, "http://a/n")], 1, None),
        ] {
            for (hurried, dry_run, expected) in
                [(false, false, Some(matched)), (true, false, in_haste), (true, true, Some(matched))]
            {
                purger.hurry(hurried);
                let receipt = ask(&purger, &PurgeRequest { dry_run, ..request(selectors) }).unwrap();
                assert_eq!(receipt.matched, expected, "{selectors:?}");
            }
        }
    }

    #[test]
    fn a_dry_run_tells_objects_and_bytes_and_has_no_number() {
        let purger = Fake::holding(&["http://a/x", "http://a/y"]);
        let request = PurgeRequest { dry_run: true, ..request(&[(Scope::Everything, "")]) };
        let receipt = ask(&purger, &request).unwrap();
        assert_eq!((receipt.matched, receipt.bytes, receipt.sequence), (Some(2), Some(2048), None));
        assert_eq!((receipt.id.as_str(), purger.sequence()), ("call", 0));
    }

    #[test]
    fn what_cannot_be_recorded_is_refused() {
        let purger = Fake::default();
        purger.fail(true);
        assert!(matches!(ask(&purger, &request(&[(Scope::Tag, "t")])), Err(Refusal::Failed(_))));
        assert_eq!(ask(&purger, &request(&[])), Err(Refusal::Empty), "no selector is not everything");
    }

    #[tokio::test]
    async fn who_waits_for_the_fleet_is_told_who_is_late() {
        for (wait, late, status) in [(Wait::Node, 0, StatusCode::OK), (Wait::Fleet, 1, StatusCode::ACCEPTED)]
        {
            let purger = Fake::default().late(&["lon-1"]);
            let receipt = ask(&purger, &request(&[(Scope::Everything, "")])).unwrap();
            let receipt = with_fleet(&purger, wait, receipt).await;
            assert_eq!((receipt.late.len(), status_of(&receipt)), (late, status));
            assert_eq!(receipt.nodes.len(), 1, "this node is told once");
        }
        let alone = ask(&Fake::default(), &request(&[(Scope::Tag, "t")])).unwrap();
        assert_eq!(status_of(&with_fleet(&Fake::default(), Wait::Fleet, alone).await), StatusCode::OK);
    }
}
