// OpenAI's own client against a gateway in front of the model server that computes nothing
// (tests/fake_model_server.c): every form of request that people use, and every way to fail.
//
//     node against_stub.mjs GATEWAY STUB        addresses without /v1
import { OpenAI, clientVersion, equal, errorOf, hasEnergy, ok, part, until } from './checks.mjs'

const [gateway, stub] = process.argv.slice(2)
const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: 'none' })
const seen = async () => (await fetch(`${stub}/stub`)).json()
const lastBody = async () => JSON.parse((await seen()).last_body)
const ask = (content, more = {}) => ({ model: 'stub', messages: [{ role: 'user', content }], ...more })
const words = (n) => Array.from({ length: n }, (_, i) => `word${i}`).join(' ')
const weather = {
    type: 'function',
    function: {
        name: 'weather',
        description: 'of a place',
        parameters: { type: 'object', properties: { words: { type: 'string' } } },
    },
}

console.log(`# openai ${clientVersion}, node ${process.version}`)

await part('chat', async () => {
    const { data, response, request_id } = await client.chat.completions
        .create(ask('tokens=5 one two'))
        .withResponse()
    equal('a whole answer', data.choices[0].message.content, words(5))
    equal('its tokens', [data.usage.prompt_tokens, data.usage.completion_tokens], [3, 5])
    ok('its energy is in the typed result', hasEnergy(data.usage), data.usage)
    ok('and in a header', response.headers.get('x-wattlaw-energy-wh') !== null)
    ok('the id is where the client looks for it', /^wl-/.test(data._request_id) && data._request_id === request_id)
    equal('the model server never sees the key', (await seen()).last_headers.authorization, undefined)
    const limited = await client.chat.completions.create(ask('tokens=50', { max_completion_tokens: 4 }))
    equal('max_completion_tokens', [limited.choices[0].finish_reason, limited.usage.completion_tokens], ['length', 4])
    await client.chat.completions.create(ask('tokens=1', { seed: 7, top_k: 3, metadata: { a: 'b' } }))
    const body = await lastBody()
    equal('known and unknown parameters are passed on', [body.seed, body.top_k, body.metadata], [7, 3, { a: 'b' }])
})

await part('streams', async () => {
    const stream = await client.chat.completions.create(ask('tokens=6 delay=2', { stream: true }))
    let text = ''
    let last
    for await (const chunk of stream) {
        text += chunk.choices[0].delta.content ?? ''
        last = chunk
    }
    equal('all words', text, words(6))
    equal('the end', last.choices[0].finish_reason, 'stop')
    ok('the energy is in the last chunk', hasEnergy(last.usage), last)

    const options = { stream: true, stream_options: { include_usage: true } }
    const chunks = []
    for await (const chunk of await client.chat.completions.create(ask('tokens=2', options))) chunks.push(chunk)
    equal('include_usage has a chunk of its own', chunks.at(-1).choices, [])
    ok('with the energy', hasEnergy(chunks.at(-1).usage), chunks.at(-1))

    const helper = client.chat.completions.stream(ask('tokens=5'))
    let deltas = 0
    helper.on('content', () => deltas++)
    const message = await helper.finalMessage()
    const final = await helper.finalChatCompletion()
    equal('the helper: finalMessage', message.content, words(5))
    equal('the helper: content events', deltas, 5)
    ok('the helper: finalChatCompletion has the energy', hasEnergy(final.usage), final)

    const raw = await client.chat.completions.create(ask('tokens=3', { stream: true })).asResponse()
    equal('asResponse', raw.headers.get('content-type'), 'text/event-stream; charset=utf-8')
    ok('the stream as it came', (await raw.text()).endsWith('data: [DONE]\n\n'))
})

await part('tools', async () => {
    const question = ask('tool=weather tokens=4', { tools: [weather], tool_choice: 'auto' })
    const whole = await client.chat.completions.create(question)
    equal('a whole call', whole.choices[0].message.tool_calls[0].function, {
        name: 'weather',
        arguments: JSON.stringify({ words: words(4) }),
    })
    equal('its end', whole.choices[0].finish_reason, 'tool_calls')
    ok('costs energy, too', hasEnergy(whole.usage), whole)
    equal('tools are passed on as they are', (await lastBody()).tools, [weather])

    const stream = client.chat.completions.stream(question)
    let parts = 0
    stream.on('tool_calls.function.arguments.delta', () => parts++)
    const final = await stream.finalChatCompletion()
    const call = final.choices[0].message.tool_calls[0].function
    equal('a call in a stream', [call.name, JSON.parse(call.arguments)], ['weather', { words: words(4) }])
    ok('comes piece by piece', parts >= 4, parts)
    ok('with the energy', hasEnergy(final.usage), final)

    for (const isStream of [false, true]) {
        const given = []
        const runner = client.chat.completions.runTools({
            ...ask('tool=weather tokens=3'),
            stream: isStream,
            tools: [
                {
                    type: 'function',
                    function: {
                        ...weather.function,
                        parse: JSON.parse,
                        function: (argument) => {
                            given.push(argument)
                            return 'tokens=2 sunny'
                        },
                    },
                },
            ],
        })
        equal(`runTools${isStream ? ' in streams' : ''}: the answer`, await runner.finalContent(), words(2))
        equal('the tool got its arguments', given, [{ words: words(3) }])
        const roles = (await lastBody()).messages.map((message) => message.role)
        equal('the conversation that was sent', roles, ['user', 'assistant', 'tool'])
        const usage = await runner.totalUsage()
        equal('usage of both requests', usage.completion_tokens, 5)
    }
})

await part('pictures', async () => {
    // One grey pixel.
    const url =
        'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=='
    for (const detail of ['low', 'high', 'auto']) {
        const content = [
            { type: 'image_url', image_url: { url, detail } },
            { type: 'text', text: 'tokens=2 what' },
        ]
        const answer = await client.chat.completions.create(ask(content))
        equal(`detail ${detail}`, [answer.choices[0].message.content, answer.usage.prompt_tokens], [words(2), 87])
        const sent = (await lastBody()).messages[0].content[0]
        ok('the picture arrives', sent.image_url.url.startsWith('data:image/'), sent)
    }
    const far = ask([{ type: 'image_url', image_url: { url: 'http://127.0.0.1:1/x.png' } }])
    const error = await errorOf(client.chat.completions.create(far))
    ok('an address elsewhere is refused', error?.status >= 400 && error.status < 500, error)
    const broken = ask([{ type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }])
    const wrong = await errorOf(client.chat.completions.create(broken))
    ok('so is what is no picture', wrong instanceof OpenAI.BadRequestError, wrong)
    equal('and where it stands is told', wrong?.param, 'messages[0].content[0].image_url.url')
})

await part('other endpoints', async () => {
    const completion = await client.completions.create({ model: 'stub', prompt: 'tokens=3 a b' })
    equal('completions', completion.choices[0].text, words(3))
    ok('with the energy', hasEnergy(completion.usage), completion)
    let text = ''
    for await (const chunk of await client.completions.create({ model: 'stub', prompt: 'tokens=3', stream: true })) {
        text += chunk.choices[0]?.text ?? ''
    }
    equal('completions in a stream', text, words(3))
    const vector = [0.25, -0.5, 0.125]
    const embedding = await client.embeddings.create({ model: 'stub', input: ['a b', 'c'] })
    equal('the client asks for base64', (await lastBody()).encoding_format, 'base64')
    equal('embeddings', embedding.data.map((one) => Array.from(one.embedding)), [vector, vector])
    ok('with the energy', hasEnergy(embedding.usage), embedding)
    const plain = await client.embeddings.create({ model: 'stub', input: 'a', encoding_format: 'float' })
    equal('embeddings as numbers', plain.data[0].embedding, vector)
    const models = []
    for await (const model of client.models.list()) models.push(model.id)
    equal('models.list', models, ['stub'])
    const none = await errorOf(client.models.retrieve('../../slots'))
    ok('a model that would be another path', none instanceof OpenAI.NotFoundError, none)
})

await part('errors', async () => {
    const is = async (what, promise, type, status, fields = {}) => {
        const error = await errorOf(promise)
        ok(`${what}: ${type.name}`, error instanceof type && error.status === status, error)
        for (const [name, value] of Object.entries(fields)) equal(`${what}: ${name}`, error?.[name], value)
        return error
    }
    const create = (body, options) => client.chat.completions.create(body, options)
    await is('a wrong role', create({ model: 'stub', messages: [{ content: 'a' }] }), OpenAI.BadRequestError, 400, {
        param: 'messages[0].role',
        code: 'missing_required_parameter',
        type: 'invalid_request_error',
    })
    const wrong = await is('a wrong type', create(ask('a', { max_tokens: 'many' })), OpenAI.BadRequestError, 400, {
        param: 'max_tokens',
        code: 'invalid_type',
    })
    ok('a refusal has an id', /^wl-/.test(wrong.requestID), wrong?.requestID)
    await is('an unknown path', client.get('/nowhere'), OpenAI.NotFoundError, 404, { code: 'unknown_url' })
    await is('the words of the model server', create(ask('status=422')), OpenAI.UnprocessableEntityError, 422, {
        message: '422 as asked',
    })
    const once = { maxRetries: 0 }
    await is('a model server that dies', create(ask('die=0'), once), OpenAI.InternalServerError, 502, {
        code: 'model_server_died',
    })
    const stream = await create(ask('tokens=9 die=3 delay=2', { stream: true }))
    let pieces = 0
    const broken = await errorOf(
        (async () => {
            for await (const chunk of stream) pieces += chunk.choices[0]?.delta.content ? 1 : 0
        })(),
    )
    ok('a stream that dies throws', broken instanceof OpenAI.APIError && pieces === 3, { broken, pieces })
    equal('and says why', broken?.code, 'model_server_died')
    const elsewhere = new OpenAI({ baseURL: 'http://127.0.0.1:1/v1', apiKey: 'none', maxRetries: 0 })
    const error = await errorOf(elsewhere.chat.completions.create(ask('a')))
    ok('nobody there: APIConnectionError', error instanceof OpenAI.APIConnectionError, error)
})

await part('trying again', async () => {
    const before = (await seen()).requests
    const answer = await client.chat.completions.create(ask('status=500 times=2 tokens=2'))
    equal('two errors are overcome', answer.choices[0].message.content, words(2))
    equal('with three requests', (await seen()).requests - before, 3)
    const error = await errorOf(client.chat.completions.create(ask('status=500'), { maxRetries: 1 }))
    ok('for ever is not', error instanceof OpenAI.InternalServerError, error)
    const bad = (await seen()).requests
    await errorOf(client.chat.completions.create(ask('status=400')))
    equal('what is wrong is not tried again', (await seen()).requests - bad, 1)
})

await part('leaving', async () => {
    const left = (await seen()).left
    const controller = new AbortController()
    const stream = await client.chat.completions.create(ask('tokens=2000 delay=20', { stream: true }), {
        signal: controller.signal,
    })
    let pieces = 0
    for await (const chunk of stream) {
        pieces += chunk.choices.length
        if (pieces === 5) controller.abort()
    }
    ok('an aborted stream ends early', pieces < 100, pieces)
    ok('and its work', await until(5, async () => (await seen()).left > left && (await seen()).running === 0))

    for await (const chunk of await client.chat.completions.create(ask('tokens=2000 delay=20', { stream: true }))) {
        if (chunk.choices[0].delta.content) break
    }
    ok('so does one that nobody reads on', await until(5, async () => (await seen()).running === 0))

    const whole = new AbortController()
    setTimeout(() => whole.abort(), 300)
    const aborted = await errorOf(
        client.chat.completions.create(ask('tokens=2000 delay=20'), { signal: whole.signal }),
    )
    ok('a whole answer: APIUserAbortError', aborted instanceof OpenAI.APIUserAbortError, aborted)
    ok('its work ends, too', await until(5, async () => (await seen()).running === 0))

    const options = { timeout: 300, maxRetries: 0 }
    const late = await errorOf(client.chat.completions.create(ask('tokens=2 prompt=5000'), options))
    ok('a timeout: APIConnectionTimeoutError', late instanceof OpenAI.APIConnectionTimeoutError, late)
    ok('ends the work', await until(5, async () => (await seen()).running === 0))
})

await part('many at once', async () => {
    const answers = await Promise.all(
        Array.from({ length: 40 }, (_, i) => client.chat.completions.create(ask(`tokens=${1 + (i % 7)} delay=1`))),
    )
    ok('each gets its own answer', answers.every((one, i) => one.choices[0].message.content === words(1 + (i % 7))))
    equal('each its own id', new Set(answers.map((one) => one._request_id)).size, 40)
})
