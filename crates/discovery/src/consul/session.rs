//! `/v1/session`: a lease; keys taken with it are released when it is not renewed in time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Consul;
use super::error::Error;
use super::kv::put_call;
use super::transport::Call;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SessionBody<'a> {
    name: &'a str,
    #[serde(rename = "TTL")]
    ttl: String,
    lock_delay: String,
    behavior: &'static str,
}

#[derive(Deserialize)]
struct SessionId {
    #[serde(rename = "ID")]
    id: String,
}

impl Consul {
    /// Opens a session that lives for `ttl` (10 s to a day) after each renewal; when it ends, its
    /// keys are released and can be taken again after `lock_delay`.
    pub async fn session_create(
        &self,
        name: &str,
        ttl: Duration,
        lock_delay: Duration,
    ) -> Result<String, Error> {
        let body = SessionBody {
            name,
            ttl: format!("{}ms", ttl.as_millis()),
            lock_delay: format!("{}ms", lock_delay.as_millis()),
            behavior: "release",
        };
        let call = Call::put("session/create", self.encode("session/create", &body)?);
        Ok(self.transport.succeed(call).await?.json::<SessionId>()?.id)
    }

    /// Renews a session. `false`: it has ended.
    pub async fn session_renew(&self, id: &str) -> Result<bool, Error> {
        let answer = self
            .transport
            .call(Call::put("session/renew", "").segment(id))
            .await?;
        if answer.status.as_u16() == 404 {
            return Ok(false);
        }
        answer.success()?;
        Ok(true)
    }

    /// Ends a session.
    pub async fn session_destroy(&self, id: &str) -> Result<(), Error> {
        self.transport
            .succeed(Call::put("session/destroy", "").segment(id))
            .await?;
        Ok(())
    }

    /// Writes `value` and takes `key` for `session`. `false`: another session has it.
    pub async fn kv_acquire(&self, key: &str, value: &[u8], session: &str) -> Result<bool, Error> {
        let call = put_call(self, key, value)?.query("acquire", session);
        self.transport.succeed(call).await?.json()
    }

    /// Writes `value` and gives `key` back. `false`: `session` does not have it.
    pub async fn kv_release(&self, key: &str, value: &[u8], session: &str) -> Result<bool, Error> {
        let call = put_call(self, key, value)?.query("release", session);
        self.transport.succeed(call).await?.json()
    }
}
