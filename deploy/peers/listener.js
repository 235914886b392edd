// node listener.js PORT OUTDIR [STATUS[,STATUS...]]: an HTTP listener that keeps
// what it gets. Request n is OUTDIR/NNN.json {n,time,method,path,answered,headers,body}.
// The statuses are answered in turn; the last one stays.
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const [port, dir, list = '200'] = process.argv.slice(2);
const statuses = list.split(',').map(Number);
fs.mkdirSync(dir, { recursive: true });

// Counting goes on from the files: emptying OUTDIR starts at 1 again.
const last = () => Math.max(0, ...fs.readdirSync(dir).map((file) => parseInt(file, 10) || 0));

const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    let body = Buffer.concat(parts).toString('utf8');
    try {
      body = JSON.parse(body);
    } catch {
      // kept as text
    }
    const n = last() + 1;
    const answered = statuses[Math.min(n, statuses.length) - 1];
    const record = {
      n,
      time: new Date().toISOString(),
      method: request.method,
      path: request.url,
      answered,
      headers: request.headers,
      body,
    };
    const file = path.join(dir, `${String(n).padStart(3, '0')}.json`);
    fs.writeFileSync(`${file}.tmp`, `${JSON.stringify(record, null, 2)}\n`);
    fs.renameSync(`${file}.tmp`, file);
    response.writeHead(answered, { 'Content-Type': 'application/json' });
    response.end(`${JSON.stringify({ ok: answered < 300, n })}\n`);
  });
});
server.on('error', (error) => {
  console.error(`listener: ${error.message}`);
  process.exit(1);
});
server.listen(Number(port), '127.0.0.1', () => console.log(`LISTENER_URL=http://127.0.0.1:${server.address().port}`));
process.on('SIGTERM', () => process.exit(0));
