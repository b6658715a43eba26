// What a program written for Resend does, against the API that it is told of; its answers as JSON on stdout.
// Usage: node client.mjs SDK_FOLDER BASE_URL API_KEY
import { createRequire } from "node:module";

const [folder, baseUrl, key] = process.argv.slice(2);
const { Resend } = createRequire(`${folder}/`)("resend");
const resend = new Resend(key, { baseUrl });
const stranger = new Resend("re_of_resend", { baseUrl });

const mail = {
  from: "Shop <orders@shop.example>",
  to: "jane@inbox.test",
  subject: "Your receipt",
  html: "<p>Thank you</p>",
};
const inHours = (hours) => new Date(Date.now() + hours * 3_600_000).toISOString();
const nobodys = "019ab3f0-5d7e-7c41-9f0a-4a6c1f0e2b11";

const sent = await resend.emails.send({
  ...mail,
  cc: ["cc@inbox.test"],
  replyTo: "help@shop.example",
  tags: [{ name: "kind", value: "receipt" }],
  headers: { "X-Order": "4711" },
});
const file = { filename: "a.pdf", content: Buffer.from("%PDF-1.7") };
const picture = { filename: "logo.png", content: Buffer.from("png").toString("base64"), contentType: "image/png", contentId: "logo" };
const keyed = { idempotencyKey: "order-4711" };
const scheduled = await resend.emails.send({ ...mail, scheduledAt: inHours(1) });
const movedTo = inHours(2);
const answers = {
  sent,
  filed: await resend.emails.send({ ...mail, attachments: [file, picture] }),
  got: await resend.emails.get(sent.data.id),
  once: await resend.emails.send(mail, keyed),
  again: await resend.emails.send(mail, keyed),
  scheduled,
  movedTo,
  moved: await resend.emails.update({ id: scheduled.data.id, scheduledAt: movedTo }),
  waiting: await resend.emails.get(scheduled.data.id),
  cancelled: await resend.emails.cancel(scheduled.data.id),
  ended: await resend.emails.get(scheduled.data.id),
  batch: await resend.batch.send([mail, { ...mail, to: "john@inbox.test" }]),
  permissive: await resend.batch.send([{ ...mail, to: "nobody" }, mail], { batchValidation: "permissive" }),
  listed: await resend.emails.list({ limit: 1 }),
  errors: {
    missing_required_field: await resend.emails.send({ ...mail, subject: undefined }),
    validation_error: await resend.emails.send({ ...mail, to: "nobody" }),
    strict_batch: await resend.batch.send([mail, { ...mail, to: "nobody" }]),
    invalid_api_key: await stranger.emails.send(mail),
    invalid_attachment: await resend.emails.send({ ...mail, attachments: [{ path: "https://shop.example/a.pdf" }] }),
    not_found: await resend.emails.get(nobodys),
    invalid_idempotent_request: await resend.emails.send({ ...mail, subject: "Other" }, keyed),
  },
};
process.stdout.write(JSON.stringify(answers));
