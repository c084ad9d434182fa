//! The configuration language: one YAML document that means the same at the gateway and in a
//! sidecar.
//!
//! For: types of what was *written*, decoding that reports every error with its place, the JSON
//! Schema and the reference page. Not for: what a document *means*; that is `weir-policy`, which
//! compiles a [`Document`] to a snapshot. The one idea: a type is declared once, and decoder,
//! schema and reference all come from that declaration.
//!
//! ```
//! let document = weir_config::Document::from_yaml(
//!     "services: { users: { endpoints: [\"127.0.0.1:5000\"] } }\n\
//!      routes: [{ path: \"/user/*\", to: users }]\n",
//! )?;
//! assert_eq!(document.routes.len(), 1);
//!
//! let text = "routes: [{ path: /, too: users }]";
//! let errors = weir_config::Document::from_yaml(text).unwrap_err();
//! assert_eq!(errors.0[1].path, "routes[0].too");
//! assert!(errors.render(text, "weir.yaml").contains("did you mean `to`?"));
//! # Ok::<(), weir_config::ConfigErrors>(())
//! ```

pub mod auth;
pub mod balance;
pub mod bounds;
pub mod broken;
pub mod cache;
pub mod compress;
pub mod cors;
pub mod dns;
pub mod document;
pub mod edge_rules;
pub mod endpoint;
pub mod error;
pub mod fallback;
pub mod fault;
pub mod foreign;
pub mod give_way;
pub mod grpc;
pub mod health;
pub mod hedge;
pub mod limit;
pub mod listener;
pub mod mirror;
pub mod openapi;
pub mod pattern;
pub mod pointer;
pub mod position;
pub mod proxy_protocol;
pub mod reference;
pub mod resilience;
pub mod route;
pub mod schema;
pub mod service;
pub mod tcp;
pub mod template;
pub mod transform;
pub mod units;
pub mod version;

pub mod criticality;
mod declare;
mod decode;
mod shape;
mod syntax;
mod yaml;

pub use document::Document;
pub use error::{ConfigError, ConfigErrors};
pub use position::{Located, Position};
