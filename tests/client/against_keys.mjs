// OpenAI's own client against a gateway that knows keys with budgets, and against one that is busy.
//
//     node against_keys.mjs keys GATEWAY KEY        KEY: 3 requests a minute
//     node against_keys.mjs exhausted GATEWAY KEY   KEY: one token a day
//     node against_keys.mjs busy GATEWAY            one place, no queue
import { OpenAI, errorOf, equal, ok, part } from './checks.mjs'

const [what, gateway, apiKey = 'none'] = process.argv.slice(2)
const connect = (options) => new OpenAI({ baseURL: `${gateway}/v1`, apiKey, ...options })
const ask = (content) => ({ model: 'stub', messages: [{ role: 'user', content }] })

async function askWithKeys() {
    const stranger = connect({ apiKey: 'wl-wrong' })
    const unknown = await errorOf(stranger.chat.completions.create(ask('a')))
    ok('an unknown key: AuthenticationError', unknown instanceof OpenAI.AuthenticationError, unknown)
    equal('its code', unknown?.code, 'invalid_api_key')
    const client = connect({ maxRetries: 0 })
    const model = await errorOf(client.chat.completions.create({ ...ask('a'), model: 'other' }))
    ok('a model that is not allowed: PermissionDeniedError', model instanceof OpenAI.PermissionDeniedError, model)
    equal('is named as the parameter', model?.param, 'model')
    for (let i = 0; i < 3; i++) await client.chat.completions.create(ask('tokens=1'))
    const limited = await errorOf(client.chat.completions.create(ask('tokens=1')))
    ok('too many a minute: RateLimitError', limited instanceof OpenAI.RateLimitError, limited)
    equal('its code', limited?.code, 'rate_limit_exceeded')
    const header = (name) => Number(limited.headers.get(name))
    ok('it says when to come again', header('retry-after') >= 1 && header('retry-after') <= 60, limited.headers)
    equal('and of which limit', [header('x-ratelimit-limit-requests'), header('x-ratelimit-remaining-requests')], [3, 0])
}

// With two tries again and hours to wait, as the client is when nobody sets anything.
async function askExhausted() {
    await connect({}).chat.completions.create(ask('tokens=1 a b'))
    const start = Date.now()
    const patience = new Promise((resolve) => setTimeout(resolve, 5000, 'it still sleeps').unref())
    const error = await Promise.race([errorOf(connect({}).chat.completions.create(ask('a'))), patience])
    ok('used up until midnight: RateLimitError', error instanceof OpenAI.RateLimitError, error)
    ok('at once, not after hours', Date.now() - start < 5000, Date.now() - start)
    equal('its code', error?.code, 'tokens_exhausted')
    if (!(error instanceof OpenAI.RateLimitError)) process.exit(1)
}

async function askBusy() {
    const client = connect({ maxRetries: 5 })
    const start = Date.now()
    const slow = client.chat.completions.create(ask('tokens=1 prompt=700'))
    await new Promise((resolve) => setTimeout(resolve, 200))
    const refused = await errorOf(client.chat.completions.create(ask('tokens=1'), { maxRetries: 0 }))
    ok('no place: InternalServerError', refused instanceof OpenAI.InternalServerError && refused.status === 503, refused)
    const second = await client.chat.completions.create(ask('tokens=1'))
    equal('the client comes again when it was told to', second.choices[0].message.content, 'word0')
    ok('after a while', Date.now() - start > 1000, Date.now() - start)
    equal('the first one had its answer', (await slow).choices[0].message.content, 'word0')
}

await part(what, { keys: askWithKeys, exhausted: askExhausted, busy: askBusy }[what])
