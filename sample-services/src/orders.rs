//! Orders of customers. Each is shown with the customer's name, which users knows.

use std::sync::Arc;

use axum::extract::{FromRef, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use crate::arguments::OrdersArguments;
use crate::neighbour::{Neighbour, NeighbourPlaceError};
use crate::page::Page;
use crate::problem::{FieldError, JsonBody, Problem};
use crate::shell::{self, Readiness};
use crate::trace::TraceContext;

mod book;
mod caller;

use book::{Book, BookFull, Order};
use caller::{Caller, CallerSource};

#[derive(Clone)]
struct Shop {
    book: Arc<Book>,
    caller_source: CallerSource,
    users: Neighbour,
}

impl FromRef<Shop> for CallerSource {
    fn from_ref(shop: &Shop) -> Self {
        shop.caller_source.clone()
    }
}

/// The whole service, with some orders of the demo accounts.
///
/// # Errors
/// When users cannot be at the given address.
pub fn router(
    arguments: &OrdersArguments,
    readiness: &Readiness,
) -> Result<Router, NeighbourPlaceError> {
    let book = Book::default();
    for (customer_id, item, quantity) in DEMO_ORDERS {
        // The book is empty and large enough for them.
        let _ = book.place(*customer_id, (*item).to_owned(), *quantity);
    }
    let shop = Shop {
        book: Arc::new(book),
        caller_source: arguments
            .caller_header
            .clone()
            .map_or(CallerSource::Token, CallerSource::Header),
        users: Neighbour::new("users", &arguments.users_url, &arguments.users_host)?,
    };
    let routes = Router::new()
        .route("/orders", get(list).post(place))
        .route("/orders/{id}", get(show))
        .with_state(shop);
    let openapi = include_str!("orders/openapi.json");
    Ok(shell::around(
        routes,
        openapi,
        arguments.common.faults,
        readiness,
    ))
}

/// A customer as users tells. Without a name when users does not know the id (any more).
#[derive(Clone, Serialize)]
struct Customer {
    id: u64,
    name: Option<String>,
}

/// An order as its customer sees it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    order: Order,
    customer: Customer,
}

#[derive(Serialize)]
struct Orders {
    orders: Vec<Shown>,
}

async fn list(
    caller: Caller,
    State(shop): State<Shop>,
    page: Page,
    Extension(context): Extension<TraceContext>,
) -> Result<Json<Orders>, Problem> {
    let customer = customer(&shop, &caller, &context).await?;
    let orders = shop.book.page(caller.user_id, page.after, page.limit);
    let shown = |order| Shown {
        order,
        customer: customer.clone(),
    };
    Ok(Json(Orders {
        orders: orders.into_iter().map(shown).collect(),
    }))
}

async fn show(
    caller: Caller,
    State(shop): State<Shop>,
    Path(id): Path<String>,
    Extension(context): Extension<TraceContext>,
) -> Result<Json<Shown>, Problem> {
    // Somebody else's order is as unknown as one that does not exist.
    let order = id
        .parse()
        .ok()
        .and_then(|id| shop.book.by_id(caller.user_id, id));
    let order = order.ok_or_else(|| Problem::not_found(format!("you have no order {id:?}")))?;
    let customer = customer(&shop, &caller, &context).await?;
    Ok(Json(Shown { order, customer }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    item: String,
    quantity: u32,
}

async fn place(
    caller: Caller,
    State(shop): State<Shop>,
    Extension(context): Extension<TraceContext>,
    JsonBody(new): JsonBody<NewOrder>,
) -> Result<Response, Problem> {
    let item = new.item.trim();
    let mut errors = Vec::new();
    if item.is_empty() || item.chars().count() > ITEM_CHARS_MAX || item.contains(char::is_control) {
        let detail = "must have 1 to 100 characters, none of them a control character";
        errors.push(FieldError {
            field: "item",
            detail,
        });
    }
    if !(1..=QUANTITY_MAX).contains(&new.quantity) {
        errors.push(FieldError {
            field: "quantity",
            detail: "must be from 1 to 100",
        });
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let customer = customer(&shop, &caller, &context).await?;
    if customer.name.is_none() {
        let detail = "users does not know you; only customers can order";
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "unknown-customer",
            detail,
        ));
    }
    let order = shop
        .book
        .place(caller.user_id, item.to_owned(), new.quantity)?;
    let location = [(header::LOCATION, format!("/orders/{}", order.id))];
    Ok((
        StatusCode::CREATED,
        location,
        Json(Shown { order, customer }),
    )
        .into_response())
}

/// Asks users for the caller's name.
async fn customer(
    shop: &Shop,
    caller: &Caller,
    context: &TraceContext,
) -> Result<Customer, Problem> {
    #[derive(Deserialize)]
    struct Profile {
        name: String,
    }
    let id = caller.user_id;
    let profile = shop
        .users
        .get::<Profile>(&format!("/users/{id}"), context)
        .await?;
    Ok(Customer {
        id,
        name: profile.map(|profile| profile.name),
    })
}

impl From<BookFull> for Problem {
    fn from(error: BookFull) -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "book-full",
            error.to_string(),
        )
    }
}

/// Customer, item and quantity of the orders that are there from the start.
const DEMO_ORDERS: &[(u64, &str, u32)] = &[
    (1, "Canal lock model", 1),
    (1, "Sluice gate wrench", 2),
    (2, "Compiler handbook", 1),
];

const ITEM_CHARS_MAX: usize = 100;
const QUANTITY_MAX: u32 = 100;
