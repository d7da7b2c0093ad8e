// @utcp/sdk calls tools, as utcp_calls.py does with the Python library: node utcp_calls.cjs URL FILE
const { readFileSync } = require("node:fs");
const { UtcpClient } = require("@utcp/sdk");
const http = require("@utcp/http");

async function main(url, place) {
  for (const level of ["log", "warn", "error"]) console[level] = () => {};
  if (http.register) http.register();
  const { calls, variables } = JSON.parse(readFileSync(place, "utf-8"));
  const template = { name: "m", call_template_type: "http", url, http_method: "GET" };
  const client = await UtcpClient.create(process.cwd(), { variables, manual_call_templates: [template] });
  const tools = await client.config.tool_repository.getTools();
  const results = [];
  for (const [name, args] of calls) {
    try {
      results.push(await client.callTool(name, args));
    } catch (error) {
      results.push(String(error));
    }
  }
  process.stdout.write(JSON.stringify({ tools: tools.map((tool) => tool.name), results }));
}

main(process.argv[2], process.argv[3]);
