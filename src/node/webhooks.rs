//! Starts what pushes tenants' events to their addresses.

use super::NodeError;
use crate::api::v1::V1;
use crate::api::v1::webhooks::{self, Address, Pusher};
use crate::config::{Config, Tenant, Webhook};
use crate::telemetry::metrics::Doors;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Pushes for as long as the runtime lives; without an address behind https nobody need vouch for anybody.
pub(super) fn start(runtime: &Runtime, config: &Config, v1: &V1, counts: &Arc<Doors>) -> Result<(), NodeError> {
    let secure = addresses(&config.tenants).any(|to| to.url.scheme_str() == Some("https"));
    let trust = webhooks::trust(secure).map_err(|error| NodeError::Setup(format!("tenants.webhooks: {error}")))?;
    let V1 { register, keys, wall_ms, .. } = v1.clone();
    let pusher = Pusher { register, keys, wall_ms, counts: counts.clone(), trust };
    for to in addresses(&config.tenants) {
        runtime.spawn(pusher.clone().push(to));
    }
    Ok(())
}

fn addresses(tenants: &[Tenant]) -> impl Iterator<Item = Address> + '_ {
    let of = |tenant: &Tenant, hook: &Webhook| Address {
        tenant: tenant.id.clone(),
        url: hook.url.clone(),
        key: hook.key.as_str().into(),
    };
    tenants.iter().flat_map(move |tenant| tenant.webhooks.iter().map(move |hook| of(tenant, hook)))
}
