//! `/v1/catalog`: which services there are at all.

use std::collections::BTreeMap;

use super::error::Error;
use super::transport::Call;
use super::{Consul, Reply};

impl Consul {
    /// The names of all services with their tags.
    pub async fn catalog_services(
        &self,
        datacenter: Option<&str>,
    ) -> Result<Reply<BTreeMap<String, Vec<String>>>, Error> {
        let call = Call::get("catalog/services").query_some("dc", datacenter);
        let answer = self.transport.succeed(call).await?;
        Ok(Reply {
            value: answer.json()?,
            index: answer.index,
        })
    }
}
