//! A route's access rules, asked about a request (`route/access/` has them), and told to whoever explains one.

use std::net::IpAddr;
use std::sync::Arc;

use purge_api::compat::method;
use serde_json::{Map, Value, json};

use crate::listener::fields::Fields;
use crate::listener::request::Request;
use crate::route::Route;
use crate::route::access::{Asking, Denied, Guard};

/// Whether the request may be answered.
///
/// # Errors
/// [`Denied`]: it may not.
pub(super) fn ask(guard: &Arc<Guard>, request: &Request, route: &Route<'_, '_>) -> Result<(), Denied> {
    let client = request.client.address.ip();
    if method::is_purge(request.method.as_str()) {
        return guard.ask_purger(client);
    }
    guard.ask(&Asking { client, authority: route.authority(), fields: &request.fields })
}

/// What each rule of `guard` would say to a request that is only imagined, and the first that refuses it.
pub(super) fn explain(
    guard: &Guard,
    client: Option<IpAddr>,
    authority: &[u8],
    fields: &Fields,
) -> (Value, Option<Denied>) {
    let mut first = None;
    let told = guard.explain(client, authority, fields).into_iter().map(|(rule, said)| {
        let word = match said {
            None => "depends on the client",
            Some(Ok(())) => "admits",
            Some(Err(denied)) => {
                first.get_or_insert(denied);
                denied.as_str()
            }
        };
        (rule.to_owned(), json!(word))
    });
    let told = told.collect::<Map<_, _>>();
    (Value::Object(told), first)
}
