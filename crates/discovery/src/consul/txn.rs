//! `/v1/txn`: several operations on the key-value store, all or none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Consul;
use super::error::Error;
use super::health::nullable;
use super::kv::{Entry, VALUE_BYTES_MAX};
use super::transport::Call;

/// Most operations that Consul takes in one transaction.
pub const TXN_OPERATIONS_MAX: usize = 64;

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Fails the transaction unless the key's `modify_index` is this.
    CheckIndex {
        /// The key.
        key: String,
        /// Its expected `modify_index`.
        index: u64,
    },
    /// Fails the transaction if the key exists.
    CheckNotExists {
        /// The key.
        key: String,
    },
    /// Fails the transaction unless this session holds the key.
    CheckSession {
        /// The key.
        key: String,
        /// The session.
        session: String,
    },
    /// Removes the key; one that is not there is no failure.
    Delete {
        /// The key.
        key: String,
    },
    /// Writes the key whatever it holds.
    Set {
        /// The key.
        key: String,
        /// Any bytes.
        value: Vec<u8>,
    },
    /// Writes the key if its `modify_index` is this, zero meaning that it must not exist.
    SetCas {
        /// The key.
        key: String,
        /// Any bytes.
        value: Vec<u8>,
        /// Its expected `modify_index`.
        index: u64,
    },
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All was done; the written entries, without their values, in the order of the operations.
    Committed(Vec<Entry>),
    /// Nothing was done; never empty.
    Refused(Vec<Refused>),
}

/// An operation that made its transaction fail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Refused {
    /// Which, from zero.
    pub op_index: usize,
    /// Why, in Consul's words.
    pub what: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OperationBody<'a> {
    #[serde(rename = "KV")]
    kv: KvBody<'a>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "PascalCase")]
struct KvBody<'a> {
    verb: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OutcomeBody {
    #[serde(default, deserialize_with = "nullable")]
    results: Vec<ResultBody>,
    #[serde(default, deserialize_with = "nullable")]
    errors: Vec<Refused>,
}

#[derive(Deserialize)]
struct ResultBody {
    #[serde(rename = "KV")]
    kv: Option<Entry>,
}

impl Consul {
    /// Does all operations or none.
    pub async fn txn(&self, operations: &[Operation]) -> Result<Outcome, Error> {
        let (count, count_max) = (operations.len(), TXN_OPERATIONS_MAX);
        if count > count_max {
            return Err(Error::TooManyOperations { count, count_max });
        }
        let too_large = |operation: &Operation| match operation {
            Operation::Set { value, .. } | Operation::SetCas { value, .. } => {
                value.len() > VALUE_BYTES_MAX
            }
            _ => false,
        };
        if operations.iter().any(too_large) {
            let address = self.address().to_owned();
            return Err(Error::TooLarge {
                address,
                what: "txn",
                bytes_max: VALUE_BYTES_MAX,
            });
        }
        let bodies: Vec<_> = operations
            .iter()
            .map(|operation| OperationBody {
                kv: body(operation),
            })
            .collect();
        let call = Call::put("txn", self.encode("txn", &bodies)?);
        let answer = self.transport.call(call).await?;
        let conflict = answer.status.as_u16() == 409;
        let answer = if conflict { answer } else { answer.success()? };
        let outcome: OutcomeBody = answer.json()?;
        match (conflict, outcome.errors.is_empty()) {
            (false, true) => {
                let entries = outcome.results.into_iter().filter_map(|result| result.kv);
                Ok(Outcome::Committed(entries.collect()))
            }
            (true, true) => Err(answer.undecodable("a conflict without errors".to_owned())),
            (_, false) => Ok(Outcome::Refused(outcome.errors)),
        }
    }
}

fn body(operation: &Operation) -> KvBody<'_> {
    let empty = KvBody::default();
    match operation {
        Operation::CheckIndex { key, index } => KvBody {
            verb: "check-index",
            key,
            index: Some(*index),
            ..empty
        },
        Operation::CheckNotExists { key } => KvBody {
            verb: "check-not-exists",
            key,
            ..empty
        },
        Operation::CheckSession { key, session } => KvBody {
            verb: "check-session",
            key,
            session: Some(session),
            ..empty
        },
        Operation::Delete { key } => KvBody {
            verb: "delete",
            key,
            ..empty
        },
        Operation::Set { key, value } => KvBody {
            verb: "set",
            key,
            value: Some(STANDARD.encode(value)),
            ..empty
        },
        Operation::SetCas { key, value, index } => {
            let value = Some(STANDARD.encode(value));
            KvBody {
                verb: "cas",
                key,
                value,
                index: Some(*index),
                ..empty
            }
        }
    }
}
