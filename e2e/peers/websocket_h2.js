// WebSocket over HTTP/2 (RFC 8441) on node's own HTTP/2, frames by hand.
//
// `client URL`: talks to an echo; prints what came back and how it ended.
// `plain URL`, `other URL`: asks for a tunnel without a protocol, or with another; prints the status.
// `server PORT`: an echo; `server PORT off`: one whose settings do not allow it.

const http2 = require('node:http2');
const crypto = require('node:crypto');

const TEXT = 1, CLOSE = 8;

function frame(opcode, payload, masked) {
  const head = [0x80 | opcode];
  if (payload.length < 126) head.push(payload.length);
  else if (payload.length < 65536) head.push(126, payload.length >> 8, payload.length & 255);
  else head.push(127, 0, 0, 0, 0, ...[24, 16, 8, 0].map((bits) => (payload.length >> bits) & 255));
  if (!masked) return Buffer.concat([Buffer.from(head), payload]);
  head[1] |= 0x80;
  const mask = crypto.randomBytes(4);
  const hidden = Buffer.from(payload.map((byte, at) => byte ^ mask[at % 4]));
  return Buffer.concat([Buffer.from(head), mask, hidden]);
}

// Calls `each` with the opcode and payload of every whole frame.
function frames(stream, each) {
  let rest = Buffer.alloc(0);
  let message = [];
  stream.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    for (;;) {
      if (rest.length < 2) return;
      const masked = rest[1] & 0x80;
      let length = rest[1] & 0x7f;
      let at = 2;
      if (length === 126) { if (rest.length < 4) return; length = rest.readUInt16BE(2); at = 4; }
      if (length === 127) { if (rest.length < 10) return; length = Number(rest.readBigUInt64BE(2)); at = 10; }
      const mask = masked ? rest.subarray(at, at + 4) : null;
      if (masked) at += 4;
      if (rest.length < at + length) return;
      let payload = Buffer.from(rest.subarray(at, at + length));
      if (mask) payload = Buffer.from(payload.map((byte, index) => byte ^ mask[index % 4]));
      const [opcode, last] = [rest[0] & 15, rest[0] & 0x80];
      rest = rest.subarray(at + length);
      if (opcode >= CLOSE) { each(opcode, payload); continue; }
      message.push({ opcode, payload });
      if (!last) continue;
      each(message[0].opcode, Buffer.concat(message.map((part) => part.payload)));
      message = [];
    }
  });
}

function client(url, protocol) {
  const { pathname } = new URL(url);
  const session = http2.connect(url);
  session.on('remoteSettings', (settings) => {
    console.log('extended connect', settings.enableConnectProtocol === true);
    const request = {
      ':method': 'CONNECT', ':scheme': 'http', ':path': pathname, ':authority': new URL(url).host,
      'sec-websocket-version': '13', 'sec-websocket-protocol': 'echo.v1',
    };
    if (protocol) request[':protocol'] = protocol;
    else { delete request[':scheme']; delete request[':path']; }
    const stream = session.request(request, { endStream: false });
    stream.on('error', (error) => { console.log(error.code); session.close(); });
    stream.on('response', (headers) => {
      console.log('status', headers[':status'], headers['weir-reason'] ?? headers['sec-websocket-protocol']);
      if (headers[':status'] !== 200) { stream.close(); session.close(); return; }
      const messages = [Buffer.from('hello'), Buffer.from('x'.repeat(200000))];
      frames(stream, (opcode, payload) => {
        if (opcode === CLOSE) { console.log('closed', payload.readUInt16BE(0)); stream.end(); return; }
        console.log(payload.equals(messages.shift()) ? 'same' : 'different');
        if (messages.length) stream.write(frame(TEXT, messages[0], true));
        else stream.write(frame(CLOSE, Buffer.from([3, 232]), true));
      });
      stream.write(frame(TEXT, messages[0], true));
      stream.on('close', () => session.close());
    });
  });
}

function server(port, enabled) {
  const listening = http2.createServer({ settings: { enableConnectProtocol: enabled } });
  listening.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    if (headers[':method'] !== 'CONNECT' || headers[':protocol'] !== 'websocket') {
      stream.respond({ ':status': 404 }, { endStream: true });
      return;
    }
    stream.respond({ ':status': 200, 'sec-websocket-protocol': 'echo.v1' });
    frames(stream, (opcode, payload) => {
      // A ping gets its pong, a closure its answer, a message itself.
      if (opcode === CLOSE) stream.end(frame(CLOSE, payload, false));
      else stream.write(frame(opcode === 9 ? 10 : opcode, payload, false));
    });
  });
  listening.listen(port, '127.0.0.1');
}

const [mode, target, more] = process.argv.slice(2);
if (mode === 'client') client(target, 'websocket');
else if (mode === 'plain') client(target, null);
else if (mode === 'other') client(target, 'connect-udp');
else server(Number(target), more !== 'off');
