"""An agent of LangChain with the tools of a manual. OPENAI_BASE_URL, OPENAI_API_KEY and MODEL name the model."""

import os
import sys

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from utcp_bridge.adapters.langchain import UTCPToolkit

place, question = sys.argv[1:3]
with UTCPToolkit.from_config(place, handle_tool_error=True) as toolkit:
    agent = create_agent(ChatOpenAI(model=os.environ["MODEL"]), toolkit.get_tools())
    print(agent.invoke({"messages": [("user", question)]})["messages"][-1].content)
