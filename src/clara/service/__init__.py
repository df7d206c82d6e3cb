"""Clara as a service: one loaded model behind HTTP, a page, MCP, and a command line that need not load it.

settings    what a server is told
engine      the only module that calls `Clara` and `Library`
worker      one thread that runs the model, several waiting requests at a time
uploads     uploaded files: kept first, then added to a store
service     engine, worker and uploads for asynchronous callers
protocols   the bodies of OpenAI's, Jina's and the page's requests
security    keys, hosts, origins, sizes, request ids
app         the routes
agents      the MCP server
running     which servers run on this machine, and how the command line asks them
"""
