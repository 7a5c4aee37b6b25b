-- +goose Up

-- What customers ordered, and how far each order has come. Items are read and
-- written with their order only, so they are not a table of their own.
CREATE TABLE orders (
    id           text        PRIMARY KEY, -- UUIDv7
    customer     text        NOT NULL,
    email        text        NOT NULL,
    items        text        NOT NULL, -- JSON: [{"sku": …, "quantity": …, "unit_price": …}]
    placed_at    timestamptz NOT NULL,
    reserved_at  timestamptz, -- by reserve-stock
    confirmed_at timestamptz, -- by send-confirmation
    cancelled_at timestamptz
);

-- Answers to POST /orders, to be given again for the same Idempotency-Key.
CREATE TABLE idempotency_keys (
    key        text        PRIMARY KEY,
    digest     text        NOT NULL, -- SHA-256 of the request's body
    order_id   text        NOT NULL,
    response   text        NOT NULL, -- the body of the answer
    created_at timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- What can still be reserved.
CREATE TABLE stock (
    sku       text   PRIMARY KEY,
    available bigint NOT NULL CHECK (available >= 0)
);

-- What was taken out of stock, and for whom. The key makes a second reservation
-- of the same order fail.
CREATE TABLE reservations (
    order_id text   NOT NULL,
    sku      text   NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, sku)
);

-- The sales report's journal: a row for each event, negative for a
-- cancellation. It has no unique key: the inbox alone keeps duplicates away.
CREATE TABLE sales (
    order_id text   NOT NULL,
    day      text   NOT NULL, -- of placing, in UTC: YYYY-MM-DD
    orders   bigint NOT NULL, -- 1 or -1
    units    bigint NOT NULL,
    revenue  bigint NOT NULL  -- minor units
);
CREATE INDEX sales_day ON sales (day);

-- +goose Down
DROP TABLE sales, reservations, stock, idempotency_keys, orders;
