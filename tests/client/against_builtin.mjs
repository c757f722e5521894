// OpenAI's own client against `wattlaw serve` with its own llama-server and the built-in pair.
//
//     node against_builtin.mjs GATEWAY PICTURE
import { readFileSync } from 'node:fs'
import { OpenAI, equal, hasEnergy, ok, part } from './checks.mjs'

const [gateway, picture] = process.argv.slice(2)
const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: 'none' })

await part('text', async () => {
    const question = {
        model: 'builtin',
        messages: [{ role: 'user', content: 'reverse: 1 2 3' }],
        max_tokens: 8,
        temperature: 0,
    }
    const whole = await client.chat.completions.create(question)
    ok('an answer', whole.choices[0].message.content.length > 0, whole)
    ok('with its energy', hasEnergy(whole.usage), whole.usage)
    const stream = client.chat.completions.stream(question)
    const final = await stream.finalChatCompletion()
    equal('the same in a stream', final.choices[0].message.content, whole.choices[0].message.content)
    ok('with its energy', hasEnergy(final.usage), final.usage)
    equal('and its tokens', final.usage.completion_tokens, whole.usage.completion_tokens)
})

await part('a picture', async () => {
    const url = `data:image/webp;base64,${readFileSync(picture).toString('base64')}`
    const ask = (detail) =>
        client.chat.completions.create({
            model: 'builtin',
            messages: [
                {
                    role: 'user',
                    content: [
                        { type: 'image_url', image_url: { url, detail } },
                        { type: 'text', text: 'What is the serial number?' },
                    ],
                },
            ],
            max_tokens: 12,
            temperature: 0,
        })
    const high = await ask('high')
    ok('it is read', /[0-9]/.test(high.choices[0].message.content), high.choices[0].message)
    ok('with its energy', hasEnergy(high.usage), high.usage)
    const low = await ask('low')
    ok('detail low costs fewer tokens', low.usage.prompt_tokens < high.usage.prompt_tokens, [low.usage, high.usage])
})

// The newer form is passed on as it is: the energy is in a whole answer, and in a stream behind it (a comment).
await part('responses', async () => {
    const question = { model: 'builtin', input: 'reverse: 1 2 3', max_output_tokens: 8, temperature: 0 }
    const whole = await client.responses.create(question)
    ok('an answer', whole.output_text.length > 0, whole)
    ok('with its energy', hasEnergy(whole.usage), whole.usage)
    // Not responses.stream: it needs an `output` in the first event, which llama-server 0.7.0 leaves out.
    let text = ''
    let final
    for await (const event of await client.responses.create({ ...question, stream: true })) {
        text += event.type === 'response.output_text.delta' ? event.delta : ''
        final = event.type === 'response.completed' ? event.response : final
    }
    ok('a stream', text.length > 0 && final?.usage.output_tokens > 0, final)
})

await part('models', async () => {
    const models = []
    for await (const model of client.models.list()) models.push(model.id)
    equal('there is one', models.length, 1)
})
