"""An SMTP server (aiosmtpd) that appends each message it takes to a file, one JSON object a line."""

import asyncio
import json
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP


class Inbox:
    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        parts = {part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()}
        entry = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "parts": parts}
        entry["headers"] = {name.lower(): str(value) for name, value in message.items()}
        with open(sys.argv[2], "a", encoding="utf-8") as inbox:
            inbox.write(json.dumps(entry) + "\n")
        return "250 OK"


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Inbox(), hostname="inbox.test"), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
