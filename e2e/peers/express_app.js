// A small Express application of the kind that people have: orders, behind a proxy.
'use strict';

const express = require('express');

const app = express();
// What Express' own documentation says to do behind a proxy on this machine.
app.set('trust proxy', 'loopback');
app.use(express.json());

const orders = new Map([['7', { id: '7', total: 42 }]]);

app.get('/order/seen', (request, response) => {
  response.json({
    client: request.ip,
    scheme: request.protocol,
    secure: request.secure,
    host: request.host,
    headers: request.headers,
  });
});

app.get('/order/large', (request, response) => {
  response.type('application/octet-stream');
  for (let number = 0; number < 256; number += 1) {
    response.write(Buffer.alloc(16384, number));
  }
  response.end();
});

app.get('/order/old', (request, response) => response.redirect(301, '/order/7?from=old'));

app.get('/order/visit', (request, response) => {
  response.cookie('visit', '1', { httpOnly: true });
  response.cookie('lang', 'en');
  response.json({ cookie: request.headers.cookie });
});

app.get('/order/events', (request, response) => {
  response.set('content-type', 'text/event-stream');
  response.write('data: first\n\n');
  // The second comes when the client has shown, by another request, that it has seen the first.
  const timer = setInterval(() => {
    if (app.locals.seen) {
      clearInterval(timer);
      response.end('data: second\n\n');
    }
  }, 10);
});

app.post('/order/seen-first', (request, response) => {
  app.locals.seen = true;
  response.sendStatus(204);
});

app.get('/order/:id', (request, response) => {
  const order = orders.get(request.params.id);
  if (order === undefined) {
    response.status(404).json({ error: `no order ${request.params.id}` });
  } else {
    response.json({ ...order, query: request.query });
  }
});

app.post('/order', (request, response) => {
  response.status(201).json({ ...request.body, id: '8' });
});

app.post('/order/upload', (request, response) => {
  let bytes = 0;
  request.on('data', (piece) => { bytes += piece.length; });
  request.on('end', () => response.json({ bytes }));
});

app.listen(Number(process.env.PORT), '127.0.0.1');
