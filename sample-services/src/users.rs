//! Accounts, logins, and the keys that verify the tokens of logins.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::arguments::UsersArguments;
use crate::page::Page;
use crate::problem::{JsonBody, Problem};
use crate::shell::{self, Readiness};

mod account;
mod directory;
mod keys;
mod passwords;
mod tokens;

pub use keys::KeyError;
pub use tokens::{AUDIENCE, ISSUER};

use account::NewAccount;
use directory::{CreateError, Directory, User};
use keys::{Keyring, TokenAlgorithm};
use passwords::{PasswordError, Passwords};

/// Why the service cannot start.
#[derive(Debug, Error)]
pub enum UsersError {
    /// The keys cannot be read or made.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The passwords of the demo accounts cannot be hashed.
    #[error("cannot set up the demo accounts: {0}")]
    Passwords(#[from] PasswordError),
}

struct Shop {
    directory: Directory,
    keyring: Keyring,
    passwords: Passwords,
}

/// The whole service, with its demo accounts.
///
/// # Errors
/// When its keys can neither be read nor made.
pub fn router(arguments: &UsersArguments, readiness: &Readiness) -> Result<Router, UsersError> {
    let shop = Shop {
        directory: Directory::default(),
        keyring: Keyring::open(&arguments.key_dir)?,
        passwords: Passwords::new()?,
    };
    for (name, email, password) in DEMO_ACCOUNTS {
        let hash = passwords::hash(password)?;
        // The directory is empty and large enough for them.
        let _ = shop
            .directory
            .create((*name).to_owned(), (*email).to_owned(), hash);
    }
    let routes = Router::new()
        .route("/users", get(list).post(create))
        .route("/users/login", post(login))
        .route("/users/{id}", get(show))
        .route("/.well-known/jwks.json", get(jwks))
        .with_state(Arc::new(shop));
    let openapi = include_str!("users/openapi.json");
    Ok(shell::around(
        routes,
        openapi,
        arguments.common.faults,
        readiness,
    ))
}

/// What anybody may know of an account.
#[derive(Serialize)]
struct Profile {
    id: u64,
    name: String,
}

impl From<User> for Profile {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.name,
        }
    }
}

#[derive(Serialize)]
struct Profiles {
    users: Vec<Profile>,
}

async fn list(State(shop): State<Arc<Shop>>, page: Page) -> Json<Profiles> {
    let users = shop.directory.page(page.after, page.limit);
    Json(Profiles {
        users: users.into_iter().map(Profile::from).collect(),
    })
}

async fn show(
    State(shop): State<Arc<Shop>>,
    Path(id): Path<String>,
) -> Result<Json<Profile>, Problem> {
    let user = id.parse().ok().and_then(|id| shop.directory.by_id(id));
    let user = user.ok_or_else(|| Problem::not_found(format!("there is no user {id:?}")))?;
    Ok(Json(user.into()))
}

async fn create(
    State(shop): State<Arc<Shop>>,
    JsonBody(account): JsonBody<NewAccount>,
) -> Result<Response, Problem> {
    let account = account.check().map_err(Problem::invalid)?;
    let hash = shop.passwords.hash(account.password).await?;
    let user = shop.directory.create(account.name, account.email, hash)?;
    let location = [(header::LOCATION, format!("/users/{}", user.id))];
    Ok((StatusCode::CREATED, location, Json(Profile::from(user))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    email: String,
    password: String,
    #[serde(default)]
    algorithm: TokenAlgorithm,
}

#[derive(Serialize)]
struct LoggedIn {
    token: String,
    token_type: &'static str,
    expires_in: u64,
}

async fn login(
    State(shop): State<Arc<Shop>>,
    JsonBody(login): JsonBody<Login>,
) -> Result<Response, Problem> {
    let user = shop.directory.by_email(&login.email);
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    // Without a user the work is done all the same: the time tells nobody who has an account.
    let is_right = shop.passwords.verify(login.password, hash).await?;
    let Some(user) = user.filter(|_| is_right) else {
        return Err(Problem::unauthorized(
            "wrong-credentials",
            "email or password is wrong",
        ));
    };
    let token = tokens::issue(&user, shop.keyring.key(login.algorithm)).map_err(|error| {
        tracing::error!(%error, "cannot sign a token");
        let detail = "the token could not be signed";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "signing-failed", detail)
    })?;
    let body = LoggedIn {
        token,
        token_type: "Bearer",
        expires_in: tokens::LIFETIME.as_secs(),
    };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, Json(body)).into_response())
}

async fn jwks(State(shop): State<Arc<Shop>>) -> Response {
    let caching = [(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=300"),
    )];
    (caching, Json(shop.keyring.public_keys())).into_response()
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        let (status, code) = match error {
            CreateError::Duplicate => (StatusCode::CONFLICT, "email-taken"),
            CreateError::Full => (StatusCode::INSUFFICIENT_STORAGE, "directory-full"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        let (status, code) = match error {
            PasswordError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            PasswordError::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "hashing-failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

/// Name, email and password of the accounts that are there from the start.
const DEMO_ACCOUNTS: &[(&str, &str, &str)] = &[
    ("Demo Customer", "demo@weir.example", "demo"),
    ("Grace Hopper", "grace@weir.example", "grace"),
];
