//! `/v1/kv`: the key-value store, with check-and-set and blocking watches.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, de};

use super::blocking::{self, Query};
use super::error::Error;
use super::transport::{Answer, Call};
use super::{Consul, Reply};
use crate::watch::Watch;

/// Largest value that Consul takes.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// Any bytes.
    #[serde(default, deserialize_with = "bytes_from_base64")]
    pub value: Vec<u8>,
    /// A number that Consul only keeps.
    #[serde(default)]
    pub flags: u64,
    /// Index of its creation.
    pub create_index: u64,
    /// Index of its last change; what check-and-set compares.
    pub modify_index: u64,
    /// How often it was taken by a session.
    #[serde(default)]
    pub lock_index: u64,
    /// The session that holds it.
    #[serde(default)]
    pub session: Option<String>,
}

/// What a watch of a key or prefix shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvView {
    /// The key, or all keys with the prefix in their order; empty when there is none.
    pub entries: Vec<Entry>,
    /// The index at which this view was first seen.
    pub index: u64,
}

impl Consul {
    /// Reads a key; a missing one has an index too.
    pub async fn kv_get(&self, key: &str) -> Result<Reply<Option<Entry>>, Error> {
        let reply = self.kv_read(Call::get("kv").key(key)).await?;
        Ok(Reply {
            value: reply.value.into_iter().next(),
            index: reply.index,
        })
    }

    /// Reads all keys that start with `prefix`.
    pub async fn kv_list(&self, prefix: &str) -> Result<Reply<Vec<Entry>>, Error> {
        self.kv_read(Call::get("kv").key(prefix).with_flag("recurse"))
            .await
    }

    /// The names of all keys that start with `prefix`.
    pub async fn kv_keys(&self, prefix: &str) -> Result<Reply<Vec<String>>, Error> {
        let answer = self
            .transport
            .call(Call::get("kv").key(prefix).with_flag("keys"))
            .await?;
        let index = answer.index;
        if answer.status.as_u16() == 404 {
            return Ok(Reply {
                value: Vec::new(),
                index,
            });
        }
        Ok(Reply {
            value: answer.success()?.json()?,
            index,
        })
    }

    /// Writes a key whatever it holds.
    pub async fn kv_put(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let answer = self.transport.succeed(put_call(self, key, value)?).await?;
        match answer.json::<bool>()? {
            true => Ok(()),
            false => Err(answer.undecodable("an unconditional write was not made".to_owned())),
        }
    }

    /// Writes a key if its `modify_index` is still `expected`, zero meaning that it must not exist.
    /// `false`: it is not, and nothing was written.
    pub async fn kv_put_cas(&self, key: &str, value: &[u8], expected: u64) -> Result<bool, Error> {
        let call = put_call(self, key, value)?.query("cas", &expected.to_string());
        self.transport.succeed(call).await?.json()
    }

    /// Removes a key; one that is not there is no error.
    pub async fn kv_delete(&self, key: &str) -> Result<(), Error> {
        self.transport.succeed(Call::delete("kv").key(key)).await?;
        Ok(())
    }

    /// Removes a key if its `modify_index` is still `expected`. `false`: it is not.
    pub async fn kv_delete_cas(&self, key: &str, expected: u64) -> Result<bool, Error> {
        let call = Call::delete("kv")
            .key(key)
            .query("cas", &expected.to_string());
        self.transport.succeed(call).await?.json()
    }

    /// Removes all keys that start with `prefix`.
    pub async fn kv_delete_prefix(&self, prefix: &str) -> Result<(), Error> {
        self.transport
            .succeed(Call::delete("kv").key(prefix).with_flag("recurse"))
            .await?;
        Ok(())
    }

    /// Follows one key.
    pub fn watch_key(&self, key: &str) -> Watch<KvView> {
        blocking::watch(
            self.clone(),
            KvQuery {
                key: key.to_owned(),
                recurse: false,
            },
        )
    }

    /// Follows all keys that start with `prefix`.
    pub fn watch_prefix(&self, prefix: &str) -> Watch<KvView> {
        blocking::watch(
            self.clone(),
            KvQuery {
                key: prefix.to_owned(),
                recurse: true,
            },
        )
    }

    async fn kv_read(&self, call: Call) -> Result<Reply<Vec<Entry>>, Error> {
        let answer = self.transport.call(call).await?;
        let index = answer.index;
        Ok(Reply {
            value: entries(answer)?,
            index,
        })
    }
}

/// A write of `key`, to which conditions can be added.
pub(super) fn put_call(consul: &Consul, key: &str, value: &[u8]) -> Result<Call, Error> {
    if value.len() > VALUE_BYTES_MAX {
        let address = consul.address().to_owned();
        return Err(Error::TooLarge {
            address,
            what: "kv",
            bytes_max: VALUE_BYTES_MAX,
        });
    }
    Ok(Call::put("kv", value.to_vec()).key(key))
}

/// The entries of an answer; 404 is how Consul says that there are none.
fn entries(answer: Answer) -> Result<Vec<Entry>, Error> {
    match answer.status.as_u16() {
        404 => Ok(Vec::new()),
        _ => answer.success()?.json(),
    }
}

struct KvQuery {
    key: String,
    recurse: bool,
}

impl Query for KvQuery {
    type Value = KvView;

    fn name(&self) -> &str {
        &self.key
    }

    fn call(&self) -> Call {
        let call = Call::get("kv").key(&self.key);
        if self.recurse {
            call.with_flag("recurse")
        } else {
            call
        }
    }

    fn decode(&self, answer: Answer) -> Result<Arc<KvView>, crate::Error> {
        let index = answer.index.unwrap_or(0);
        Ok(Arc::new(KvView {
            entries: entries(answer)?,
            index,
        }))
    }

    fn is_empty(value: &KvView) -> bool {
        value.entries.is_empty()
    }

    /// The index alone moves with every change anywhere beside the key.
    fn is_same(shown: &KvView, value: &KvView) -> bool {
        shown.entries == value.entries
    }
}

/// Consul writes values in base64, and `null` for an empty one.
fn bytes_from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    STANDARD.decode(text).map_err(de::Error::custom)
}
