// Reads an AsyncAPI document from standard input and fails if the official parser
// finds an error or a warning in it.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
const bad = diagnostics.filter((d) => d.severity <= 1); // 0 is an error, 1 a warning
for (const d of bad) {
  console.error(`${d.path.join("/")}: ${d.message}`);
}
if (!document || bad.length > 0) {
  process.exit(1);
}
console.log(`valid: AsyncAPI ${document.version()}, ${document.channels().length} channels, ${document.operations().length} operations, ${document.allMessages().length} messages`);
